"""DKIM signing (RFC 6376 sections 5 and 3.5): who signs, with which keys, and the DKIM-Signature fields.

::

    client, fields ─► decision.py    sign, verify or ignore, and each rule's reason  (pure, asks the tables)
                      hosts.py       InternalHosts, PeerList, ExternalIgnoreList      (pure)
    author ─────────► tables.py      SigningTable and KeyTable as OpenDKIM reads them (pure; `Table` is the port)
    key text ───────► private_key.py PEM, DER or raw to a PrivateKey that hides itself (pure)
    all of it ──────► sign.py        header selection, hashing, folding               (pure)
    kept in Redis ──► sealed_key.py  keys encrypted under their own names             (pure)
    in a database ──► sql_place.py   OpenDKIM's dsn: and our sql: in pieces           (pure)
    new keys ───────► publication.py key pairs, TXT records, zone and nsupdate text   (pure)

actors/adapters/dkim_sources.py chooses by kind where tables, lists and keys come from: dkim_files.py, dkim_redis.py,
dkim_sql.py, dkim_command.py. `tamis dkim` is built on this.
"""
