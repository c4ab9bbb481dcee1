"""The antivirus pool: yara-x rules over everything a message contains, and clamd when it is configured.

::

    Message ──► contents.py (raw, parts.py, archives.py, all counted) ──► yara.py ──► findings "yara", "uninspected"
            └─► Scanner port (adapters/clamd.py) ──────────────────────────────────────────► finding "clamav"
"""
