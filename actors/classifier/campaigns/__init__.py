"""Near-duplicate campaigns: a mutated copy of a message that was reported as spam is known on every node.

::

    Message ──► words.py (folded words) ──► fingerprint.py (MinHash signature, or an exact digest)
                                                  │  bands and digests are keys
    actor.py, finding "campaign" ◄── campaigns.py (find, report, forget) ──► CampaignStore (Redis)
"""
