"""DKIM signing (RFC 6376 sections 5 and 3.5): who signs, with which keys, and the DKIM-Signature fields.

::

    client, fields ─► decision.py    sign, verify or ignore, and each rule's reason  (pure, asks the tables)
                      hosts.py       InternalHosts, PeerList, ExternalIgnoreList      (pure)
    author ─────────► tables.py      SigningTable and KeyTable as OpenDKIM reads them (pure; `Table` is the port)
    key text ───────► private_key.py PEM, DER or raw to a PrivateKey that hides itself (pure)
    all of it ──────► sign.py        header selection, hashing, folding               (pure)
    kept in Redis ──► sealed_key.py  keys encrypted under their own names             (pure)
    in a database ──► sql_place.py   OpenDKIM's dsn: and our sql: in pieces           (pure)
    at a web server ► http_place.py  a URL in pieces                                  (pure)
    in a directory ─► ldap_place.py  OpenDKIM's ldap: in pieces                       (pure)
    new keys ───────► publication.py key pairs, TXT records, zone and nsupdate text   (pure)
    a message ──────► signer.py      what the dkim actor does at MESSAGE and at SIGN; `source.py` is its port
                      body_hash.py   the hash of the body as a fact, from the one to the other (pure)

actors/adapters/dkim_sources.py chooses by kind where tables, lists and keys come from: dkim_files.py, dkim_redis.py,
dkim_sql.py, dkim_ldap.py, dkim_http.py, dkim_command.py; dkim_watch.py reads them again when they change. The dkim
actor and `tamis dkim` are built on this.
"""
