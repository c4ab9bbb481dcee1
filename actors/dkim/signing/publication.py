"""What the world is told of a key: the TXT record (RFC 6376 section 3.6.1), zone file and nsupdate lines. Pure.

A character string of DNS holds 255 bytes (RFC 1035 section 3.3), so a record of an RSA key comes in several; they mean
their concatenation (RFC 6376 section 3.6.2.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.dkim.signing.private_key import PrivateKey

STRING_BYTES_MAX = 255
REVOKED_RECORD = "v=DKIM1; p="
"""RFC 6376 section 3.6.1: an empty p= says that there was a key and that it is revoked."""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What the owner says about the use of a key."""

    testing: bool = False
    """t=y: verifiers take failures for those of unsigned mail."""
    exact_domain: bool = False
    """t=s: i= names d= itself, never a subdomain."""
    email_only: bool = False
    """s=email."""
    hash_algorithms: Sequence[str] = ()
    """h=; empty = any."""
    note: str = ""
    """n=, for people."""


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key under its name."""

    domain: str
    selector: str
    record: str
    """The TXT record as one text."""

    @property
    def name(self) -> str:
        """Where it is published (RFC 6376 section 3.6.2.1), without the final dot."""
        return f"{self.selector}._domainkey.{self.domain}"


def key_record(key: PrivateKey, options: RecordOptions = RecordOptions()) -> str:
    """The text of the TXT record. Raises ValueError for a note or hash that does not fit into a tag."""
    for text in (options.note, *options.hash_algorithms):
        if not text.isascii() or not text.isprintable() or ";" in text:
            raise ValueError(f"{text!r} holds more than printable ASCII without a semicolon")
    flags = [flag for flag, wanted in (("y", options.testing), ("s", options.exact_domain)) if wanted]
    tags = {
        "v": "DKIM1",
        "k": key.key_type,
        "h": ":".join(options.hash_algorithms),
        "s": "email" if options.email_only else "",
        "t": ":".join(flags),
        "n": options.note.replace("=", "=3D"),
    }
    return "; ".join([*(f"{tag}={value}" for tag, value in tags.items() if value), f"p={key.public_base64}"])


def txt_strings(record: str) -> list[str]:
    """The record as strings of at most 255 bytes."""
    return [record[start : start + STRING_BYTES_MAX] for start in range(0, len(record), STRING_BYTES_MAX)]


def zone_lines(keys: Sequence[PublishedKey], ttl_s: int | None = None, origin: str = "") -> list[str]:
    """Lines of a zone file (RFC 1035 section 5.1), names relative to `origin` where they are below it."""
    lines = []
    for key in keys:
        inside = origin and key.name.endswith(f".{origin}")
        owner = key.name.removesuffix(f".{origin}") if inside else f"{key.name}."
        strings = " ".join(map(_quoted, txt_strings(key.record)))
        ttl = "" if ttl_s is None else f"{ttl_s}\t"
        lines.append(f"{owner}\t{ttl}IN\tTXT\t( {strings} )")
    return lines


def nsupdate_lines(keys: Sequence[PublishedKey], ttl_s: int, server: str = "", zone: str = "") -> list[str]:
    """A script for nsupdate(1) (RFC 2136): each name gets this record and no other."""
    lines = [f"server {server}"] if server else []
    lines += [f"zone {zone}."] if zone else []
    for key in keys:
        strings = " ".join(map(_quoted, txt_strings(key.record)))
        lines += [f"update delete {key.name}. TXT", f"update add {key.name}. {ttl_s} TXT {strings}"]
    return [*lines, "send"]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
