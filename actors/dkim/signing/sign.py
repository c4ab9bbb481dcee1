"""DKIM-Signature fields for one message (RFC 6376 section 5): which fields are signed, hashing, folding. Pure.

A message is signed as it leaves: `sign` takes the fields and the body after every edit. l= is never written (RFC 6376
section 8.2). The names in h= come in the order of `sign_headers`, each as often as the message has the field, and once
more for each that is oversigned, so that one who adds such a field breaks the signature.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.dkim.canonical import BodyHashes, Field, FieldsByName, relaxed_field
from actors.dkim.signature import SIGNED_NAMES_MAX, signed_fields
from actors.dkim.signing.options import SigningOptions
from actors.dkim.signing.private_key import PrivateKey
from actors.dkim.signing.tables import is_name

FIELD_NAME = b"DKIM-Signature"
LINE_BYTES_MAX = 78
"""RFC 5322 section 2.1.1, without CRLF; only a domain, selector, identity or field name that is longer goes beyond."""

_LEAST_ROOM_BYTES = 12
"""Base64 does not begin at the end of a line that has less room than this."""


class SigningError(Exception):
    """The message cannot be signed; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Signer:
    """One signature to be made: whose, and with which key."""

    domain: str
    """d=, A-labels."""
    selector: str
    key: PrivateKey
    identity: str = ""
    """i=, an address or "@domain" within d=; empty, or outside of it, is not written."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """What every signature of a message covers alike."""

    names: Sequence[bytes]
    """h=."""
    body_hash: str
    """bh=."""
    fields: "hashlib._Hash"
    """SHA-256 begun with the fields of h=."""


def sign(
    fields: FieldsByName, body: BodyHashes, signers: Sequence[Signer], options: SigningOptions, now_s: float
) -> tuple[bytes, ...]:
    """The value of one DKIM-Signature field for each signer, in their order, to be put on top of the message.

    It is the value of a `Field`: it begins with the blank that follows the colon, and has CRLF folds but no final CRLF.
    `fields` are the message's by lower-case name (`Message.fields_by_name`). Raises SigningError.
    """
    for signer in signers:
        if not is_name(signer.domain) or not is_name(signer.selector):
            raise SigningError("domain or selector is no name")
    names = signed_names(fields, options)
    body_hash = base64.b64encode(body.sha256(relaxed=options.relaxed_body)).decode()
    signed = signed_fields(fields, names, (b"", b""))
    if options.relaxed_header:
        signed = [relaxed_field(field) for field in signed]
    hashed = hashlib.sha256(b"".join(b"%b:%b\r\n" % field for field in signed))
    covered = _Signed(names, body_hash, hashed)
    return tuple(_signature(signer, covered, options, now_s) for signer in signers)


def signed_names(fields: FieldsByName, options: SigningOptions) -> tuple[bytes, ...]:
    """The names in h=, in lower case. Raises SigningError without a From and for more names than verifiers take."""
    if not fields.get(b"from"):
        raise SigningError("there is no From field")
    omitted = {*options.omit_headers} - {"from"}
    names: list[bytes] = []
    for name in dict.fromkeys(["from", *options.sign_headers, *options.oversign_headers]):
        if name not in omitted:
            times = len(fields.get(name.encode(), ())) + (name == "from" or name in options.oversign_headers)
            names += [name.encode()] * times
    if len(names) > SIGNED_NAMES_MAX:
        raise SigningError(f"more than {SIGNED_NAMES_MAX} fields would have to be signed")
    return tuple(names)


def _signature(signer: Signer, covered: _Signed, options: SigningOptions, now_s: float) -> bytes:
    value = _Folded(len(FIELD_NAME) + 1)
    for tag, text in _tags(signer, options, now_s).items():
        value.tag(f"{tag}={text};")
    first, *others = (f"{name.decode()}:" for name in covered.names)
    value.tag(f"h={first}")
    for name in others[:-1]:
        value.more(name)
    value.more(f"{others[-1][:-1]};")
    value.tag("bh=", _LEAST_ROOM_BYTES)
    value.base64(covered.body_hash)
    value.more(";")
    value.tag("b=", _LEAST_ROOM_BYTES)
    field: Field = (FIELD_NAME, value.text.encode())
    if options.relaxed_header:
        field = relaxed_field(field)
    hashed = covered.fields.copy()
    hashed.update(b"%b:%b" % field)
    value.base64(base64.b64encode(signer.key.sign(hashed.digest())).decode())
    return value.text.encode()


def _tags(signer: Signer, options: SigningOptions, now_s: float) -> Mapping[str, str]:
    forms = ("simple", "relaxed")
    tags = {
        "v": "1",
        "a": signer.key.algorithm,
        "c": f"{forms[options.relaxed_header]}/{forms[options.relaxed_body]}",
        "d": signer.domain,
        "s": signer.selector,
        "t": str(int(now_s)),
    }
    if options.ttl_s:
        tags["x"] = str(int(now_s) + options.ttl_s)
    local, _, domain = signer.identity.rpartition("@")
    # RFC 6376 section 3.5: i= is d= or below it. OpenDKIM leaves out one that is not, too.
    if is_name(domain) and (domain.lower() == signer.domain or domain.lower().endswith("." + signer.domain)):
        tags["i"] = f"{_quoted_printable(local)}@{domain}"
    return tags


def _quoted_printable(local: str) -> str:
    """DKIM-Quoted-Printable (RFC 6376 section 2.11) of a local part."""
    plain = (chr(byte) if 0x21 <= byte <= 0x7E and byte not in b";=" else f"={byte:02X}" for byte in local.encode())
    return "".join(plain)


class _Folded:
    """Collects a field value, broken before what would not fit on its line."""

    def __init__(self, name_bytes: int) -> None:
        self.text = ""
        self._column = name_bytes

    def tag(self, text: str, room: int = 0) -> None:
        """The next tag, after a blank or a fold; `room` is what must fit after it on the line."""
        if self._column + 1 + len(text) + room > LINE_BYTES_MAX and self.text:
            self._fold()
        else:
            text = " " + text
        self._put(text)

    def more(self, text: str) -> None:
        """What may stand on a line of its own but needs no blank before it."""
        if self._column + len(text) > LINE_BYTES_MAX:
            self._fold()
        self._put(text)

    def base64(self, text: str) -> None:
        """What may be broken anywhere; it leaves room for the semicolon after it."""
        while text:
            room = LINE_BYTES_MAX - 1 - self._column
            if room <= 0:
                self._fold()
                room = LINE_BYTES_MAX - 1 - self._column
            self._put(text[:room])
            text = text[room:]

    def _fold(self) -> None:
        self.text += "\r\n "
        self._column = 1

    def _put(self, text: str) -> None:
        self.text += text
        self._column += len(text)
