"""The ingress: the server of FilterService, where transactions become tasks and findings become verdicts.

transaction.py  the order and limits of one transaction's events (pure)
session.py      one stream of many transactions: asks the dispatcher, decides, answers (pure but for its ports)
live.py         one open transaction, as a value
signing.py      what is signed once the verdict is drawn, and what it adds to that (pure)
service.py      the gRPC servicer and its server
tls.py          its certificates, taken anew when the files change
"""
