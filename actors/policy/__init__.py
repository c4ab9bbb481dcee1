"""The policy actor: SPF, DMARC records, lists, GTUBE and the author fields; facts for `actors.decide`.

Imported by actors.registry only.
"""
