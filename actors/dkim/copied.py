"""Header fields as the signer saw them: the tag z= of a signature (RFC 6376 section 3.5). For diagnosis only.

Total: what is not written as the RFC has it is left as it is, or left out. A signature field is short
(FIELD_BYTES_MAX), and so are its copies, as decoding only makes them shorter.
"""

import re

from actors.dkim.canonical import Field, FieldsByName

COPIES_MAX = 200

_ESCAPE = re.compile(rb"=([0-9A-F]{2})")


def copied_fields(value: bytes) -> FieldsByName:
    """The copies by lower-case name, each name in order; empty for an empty tag."""
    found: dict[bytes, list[Field]] = {}
    for copy in value.translate(None, b" \t\r\n").split(b"|", COPIES_MAX)[:COPIES_MAX]:
        name, colon, text = copy.partition(b":")
        if colon and name:
            found.setdefault(name.lower(), []).append((name, _decoded(text)))
    return found


def _decoded(text: bytes) -> bytes:
    """DKIM-Quoted-Printable (RFC 6376 section 2.11), white space already gone."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)
