"""Tamis beside rspamd, OpenDKIM and SpamAssassin: the same mail, the same resolver, the same load, one table.

    python -m bench.peers [--rounds 5] [--filters tamis rspamd opendkim spamassassin] [--json]

corpus.py     the mixed corpus of ARCHITECTURE section 13, with what is true of each message
resolver.py   unbound in front of our name server, whose answers can be slowed down
processes.py  how a foreign server is started in a directory of its own, waited for, and stopped
filters.py    the filters: configuration, training, start
rounds.py     one filter measured once: slow DNS, one session, saturation
table.py      medians of all rounds, and the table

Nothing runs while something else is measured: each round starts a filter, measures it and stops it again, in turn.
What is missing is named; `tests/services/install peers` brings it from Debian.
"""
