"""One rotation as it is kept between runs: which key follows which, and how far it has come."""

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """What has been done last."""

    PLANNED = "planned"
    """Selector and file of the new key are chosen."""
    PUBLISHED = "published"
    """The private key is there, and its record was given to DNS."""
    VISIBLE = "visible"
    """Every authoritative server has it; resolvers may still remember that it was not there."""
    SWITCHED = "switched"
    """The KeyTable names the new key; the old record stays for mail that is on its way."""
    WITHDRAWN = "withdrawn"
    """The record of the key that goes was taken away from DNS."""
    RETIRED = "retired"
    """Over."""


class KeyPlace(msgspec.Struct, frozen=True):
    """Where a key is: the second and the third part of a KeyTable's entry."""

    selector: str
    key: str
    """Path of the private key as the KeyTable writes it."""

    def is_same(self, other: "KeyPlace | None") -> bool:
        """Whether both are one place; DNS takes no notice of a selector's case (RFC 4343)."""
        return other is not None and (self.selector.lower(), self.key) == (other.selector.lower(), other.key)


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """The last rotation of one entry of the KeyTable; times are Unix times."""

    name: str
    """Of the entry."""
    domain: str
    """d=, A-labels in lower case."""
    old: KeyPlace
    new: KeyPlace
    key_type: str
    """Of the new key: rsa or ed25519."""
    phase: Phase
    phase_since_s: float
    """Since when it is in this phase, or cancelled in it."""
    begun_s: float
    told_s: float = 0.0
    """When DNS was last told to publish or to withdraw."""
    wait_s: int = 0
    """How long resolvers may remember what was there before: TTL of a record, or of its absence."""
    cancelled: bool = False
    """The new key goes, not the old one."""

    @property
    def doomed(self) -> KeyPlace:
        """The key that goes in the end."""
        return self.new if self.cancelled else self.old

    def known(self, place: KeyPlace | None) -> KeyPlace | None:
        """The place as it stands here, when it is the old or the new one."""
        return next((known for known in (self.old, self.new) if known.is_same(place)), place)

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return self.phase is Phase.RETIRED


def record_name(domain: str, selector: str) -> str:
    """Where the key record is published (RFC 6376 section 3.6.2.1), without the final dot."""
    return f"{selector}._domainkey.{domain}"
