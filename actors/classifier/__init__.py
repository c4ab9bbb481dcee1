"""The classifier pool: one number, the probability that a message is spam, and the words that speak for it.

::

    Message ──► features.py (views, hashed byte 5-grams) ──► model.py (weights, calibration) ──► finding "spam"
    corpus.py (labelled mail, held-out part) ──► training.py ──► models/*.safetensors + card
"""
