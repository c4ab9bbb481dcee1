"""Whose mail it is: the address that selects the keys, from the first field of the configured names that is there.

Reads as actors/policy/author.py does, one linear pass, and agrees with it on the domain: DMARC aligns what we sign
with the domain that it sees, so an address of which the two think differently is not signed for.
"""

import re
from collections.abc import Sequence

from actors.dkim.canonical import FieldsByName
from actors.dkim.signing.tables import Address, is_name
from actors.domains import ascii_domain
from actors.policy.author import FIELD_BYTES_MAX, read_author
from wire.message import unfold

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|\\.|["()<>,;:]|[^"()<>,;:\\]++|\\', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class AuthorError(Exception):
    """There is no address to sign for; the text is the reason."""


def author_of(fields: FieldsByName, names: Sequence[str] = ("from",)) -> Address:
    """The first address of the first of these fields (SenderHeaders) that the message has. Raises AuthorError.

    OpenDKIM takes the first of several fields; we do not sign for what a reader may be shown another of.
    """
    for name in names:
        found = fields.get(name.lower().encode(), ())
        if len(found) > 1:
            raise AuthorError(f"there are {len(found)} {name} fields")
        if found:
            return _first_address(unfold(found[0][1]), name)
    raise AuthorError(f"there is no {' nor '.join(names)} field")


def _first_address(value: bytes, name: str) -> Address:
    if len(value) > FIELD_BYTES_MAX:
        raise AuthorError(f"the {name} field is too long")
    local, _, domain = _mailbox(value.decode("utf-8", "replace")).rpartition("@")
    address = Address(local.strip(), ascii_domain(domain))
    if not address.local or not is_name(address.domain) or read_author(value).domains[:1] != (address.domain,):
        raise AuthorError(f"the {name} field has no address that can be read")
    return address


def _mailbox(text: str) -> str:
    """What stands in the first angle brackets, or else as the first member of the list."""
    collected, inside, depth = "", False, 0
    for match in _PIECE.finditer(text):
        piece = match[0]
        if depth or piece in ("(", ")"):
            depth = max(0, depth + {"(": 1, ")": -1}.get(piece, 0))
        elif piece in ("<", ":"):
            # What stood before it was a name, of a mailbox or a group, or a route.
            collected, inside = "", inside or piece == "<"
        elif piece == ">" or (piece in (",", ";") and not inside and "@" in collected):
            break
        elif piece[0] == '"':
            collected += _ESCAPE.sub(r"\1", piece[1:-1])
        elif not (inside and piece == ","):
            collected += piece.removeprefix("\\")
    return collected.strip()
