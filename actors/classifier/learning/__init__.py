"""Learning while it works: weights that people's corrections add to the model, the same in every replica.

::

    `tamis learn`, gRPC Learn ──► journal.submit ──► examples (Redis stream)
                                                         │ the one trainer: trainer.py ──► lesson.py (pure)
                                                         ▼
    learner.py in every replica ◄── deltas (Redis stream), each with a number and the chain of all before it
        │ weights.py (pure): layers.py for everybody, for a tenant, for a user
        ▼
    log-odds of the model + what the layers add

Everything is integers: whoever has applied the same deltas has the same weights, bit for bit. Only the journal decides
what has happened: a lesson counts when one transaction has taken its example out, appended its delta and noted it as
learnt, and that transaction fails for a trainer that does not stand at the end of the deltas.
"""
