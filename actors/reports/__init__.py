"""DMARC aggregate reports (RFC 9990): what is counted of each message, and what is made of the counts of a day.

    verdict ─► observe.py ─► tally.py ─► adapters/redis_reports.py        in each ingress, after the verdict has left
    `tamis dmarc report`: counts of a day ─► report.py (XML, schema, gzip) ─► destinations.py ─► mail.py, delivery.py

A row says nothing that identifies a user: domains, the client's address and results only. What the parts ask of shared
state is `ReportStore` in actors/ports.py.
"""
