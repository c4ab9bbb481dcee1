"""GTUBE, the Generic Test for Unsolicited Bulk Email: one string that every filter must call spam.

Looked for in the bytes of the body and, without parsing MIME, in what quoted-printable and base64 make of it: the
first is decoded whatever the body is, and base64 has only three ways to write a string that is inside a longer one.
"""

import base64
import binascii
import re
import string

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

ENCODED_BYTES_MAX = 256 * 1024
"""So much of a body is looked at for encoded forms; a test message is short."""

_SOFT_LINE_BREAK = re.compile(rb"=[ \t]*+\r?\n")
_NOT_BASE64 = bytes(set(range(256)) - set(f"{string.ascii_letters}{string.digits}+/".encode("ascii")))


def _in_base64(text: bytes) -> tuple[bytes, ...]:
    """What stands in base64 for `text` at each of the three offsets, without the characters its neighbours share."""
    forms = []
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + text)
        first = (0, 2, 3)[offset]
        last = len(text) + offset
        forms.append(whole[first : last * 8 // 6])
    return tuple(forms)


_BASE64_FORMS = _in_base64(GTUBE)


def has_gtube(body: bytes) -> bool:
    """Whether the test string is anywhere in the body, plain, quoted-printable or base64."""
    if GTUBE in body:
        return True
    start = body[:ENCODED_BYTES_MAX]
    if b"=" in start and GTUBE in binascii.a2b_qp(_SOFT_LINE_BREAK.sub(b"", start)):
        return True
    joined = start.translate(None, _NOT_BASE64)
    return any(form in joined for form in _BASE64_FORMS)
