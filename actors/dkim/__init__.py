"""DKIM (RFC 6376, 8301, 8463) and ARC (RFC 8617): what the signatures of a message are worth.

::

    header section ─► chosen.py     which signatures, when there are too many     (pure)
                      signature.py  tags to a typed Signature, or why not        (pure)
                      actor.py      asks the Resolver for the keys, all at once   (the only await)
    TXT record     ─► key.py        tags to a typed PublicKey, or why not         (pure)
    body           ─► canonical.py  linear canonicalisation, hashed once          (pure)
                      verify.py     one signature, one verdict                    (pure)
                      diagnosis.py  what broke a signature, by difference.py and copied.py (z=)
                      arc.py        one chain, one verdict                        (pure)
                      vouching.py   what trusted forwarders said in it            (pure)
                      seal.py       the next set of a chain, for who forwards     (pure)
                      sealer.py     who gets one, and with which results
                      signing/      who is signed for, and the signatures
                      dkimpy.py     the only module that touches the library dkimpy
"""
