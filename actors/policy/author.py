"""The author domain: which domains the From field names (RFC 5322 section 3.6.2), read by one linear pass.

A tolerant reader: comments, quoted strings, routes and groups are stepped over, whatever else stands there. What two
readers could read differently (several fields, several domains) is reported as such, so that DMARC never judges one
address while the user is shown another.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

FIELD_BYTES_MAX = 8 * 1024
"""A longer From field is not read: no mail program writes one."""

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"?|\\.|[()<>,;:]|[^"()<>,;:\\]++|\\', re.DOTALL)
_DOMAIN_CHARS_MAX = 253


@dataclass(slots=True)
class _Reader:
    """Collects the addresses of one field; `plain` is what stands outside angle brackets."""

    addresses: list[str] = field(default_factory=list)
    plain: str = ""
    angle: str | None = None
    has_angle: bool = False

    def end_mailbox(self) -> None:
        if not self.has_angle and "@" in self.plain:
            self.addresses.append(self.plain)
        self.plain, self.has_angle = "", False

    def piece(self, piece: str) -> None:
        """One piece outside comments."""
        if self.angle is not None:
            self._inside_angle(piece)
        elif piece == "<":
            self.angle, self.has_angle = "", True
        elif piece in (",", ";"):
            self.end_mailbox()
        elif piece == ":":
            self.plain = ""  # it was the name of a group
        elif piece[0] not in '"\\>':
            self.plain += piece

    def _inside_angle(self, piece: str) -> None:
        if piece == ">":
            if self.angle:
                self.addresses.append(self.angle)
            self.angle = None
        elif piece == ":":
            self.angle = ""  # it was a route (RFC 5322 section 4.4)
        elif piece[0] not in '"\\<':
            self.angle = (self.angle or "") + piece


def author_domains(value: bytes) -> tuple[str, ...]:
    """The distinct domains of a From field's addresses as A-labels in lower case, in order; "" for an unusable one."""
    if len(value) > FIELD_BYTES_MAX:
        return ()
    reader, depth = _Reader(), 0
    for match in _PIECE.finditer(value.decode("utf-8", "replace")):
        piece = match[0]
        if depth:
            depth += {"(": 1, ")": -1}.get(piece, 0)
        elif piece == "(":
            depth = 1
        elif piece != ")":
            reader.piece(piece)
    if reader.angle:
        reader.addresses.append(reader.angle)
    reader.end_mailbox()
    return tuple(dict.fromkeys(ascii_domain(address.rpartition("@")[2]) for address in reader.addresses))


def ascii_domain(text: str) -> str:
    """A domain as A-labels in lower case without final dot; "" when it is none (literals, empty labels, no dot)."""
    domain = text.strip().rstrip(".").lower()
    if not domain or len(domain) > _DOMAIN_CHARS_MAX or domain.startswith("["):
        return ""
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return ""
    if "." not in domain or not domain.isprintable() or " " in domain or ".." in domain or domain.startswith("."):
        return ""
    return domain


def domain_of(address: bytes) -> str:
    """The domain of an envelope address, as `ascii_domain`."""
    return ascii_domain(address.decode("utf-8", "replace").rpartition("@")[2])


def signing_domains(signatures: Sequence[bytes], signatures_max: int) -> tuple[str, ...]:
    """The distinct d= domains of the first `signatures_max` DKIM-Signature values."""
    domains = []
    for signature in signatures[:signatures_max]:
        match = _SIGNING_DOMAIN.search(signature[:FIELD_BYTES_MAX])
        if match:
            domains.append(ascii_domain(match[1].decode("utf-8", "replace")))
    return tuple(dict.fromkeys(domain for domain in domains if domain))


_SIGNING_DOMAIN = re.compile(rb"(?:\A|;)[ \t\r\n]*+d[ \t\r\n]*+=[ \t\r\n]*+([^; \t\r\n]++)")
