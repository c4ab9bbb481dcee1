"""The antivirus pool: yara-x rules over everything a message contains, and clamd when it is configured.

::

    Message ──► contents.py (raw, decoded parts, archive members, all counted) ──► yara.py ──► finding "yara"
            └─► Scanner port (adapters/clamd.py) ──────────────────────────────────────────► finding "clamav"
"""
