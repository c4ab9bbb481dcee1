"""GTUBE, the Generic Test for Unsolicited Bulk Email: one string that every filter must call spam.

Looked for in the bytes of the body and, without parsing MIME, in what quoted-printable and base64 make of it: soft
line breaks are taken out, and base64 has only three ways to write a string that is inside a longer one.
"""

import base64

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

ENCODED_BYTES_MAX = 256 * 1024
"""So much of a body is looked at for encoded forms; a test message is short."""

_LINE_ENDS = b"\r\n"


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
    if b"=\r\n" in start and GTUBE in start.replace(b"=\r\n", b""):
        return True
    joined = start.translate(None, _LINE_ENDS)
    return any(form in joined for form in _BASE64_FORMS)
