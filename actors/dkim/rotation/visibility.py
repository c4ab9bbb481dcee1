"""What the authoritative servers say about a key record: is it as it should be at each of them.

A record counts when it is the only TXT record of its name and its p= is the private key's: what a wildcard makes up or
an older key left behind does not. How long resolvers may remember another answer is the TTL of what was seen, or of
the name's absence (RFC 2308 section 5), whichever is longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.dkim.key import KeyRecordError, parse_key
from actors.dkim.signing.private_key import PrivateKey

_REVOKED = "key is revoked"


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What one address of an authoritative server answered."""

    server: str
    """Name and address, for people."""
    records: tuple[bytes, ...] = ()
    """TXT records; none when the name does not exist."""
    ttl_s: int = 0
    silence: str = ""
    """Why there is no answer that counts, empty when there is one."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What all authoritative servers of a name's zone answered."""

    servers: tuple[ServerAnswer, ...]
    negative_ttl_s: int
    """How long the absence of a name is remembered: MINIMUM of the zone's SOA."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """How far DNS is as it should be."""

    behind: tuple[str, ...]
    """Servers that answer otherwise, each with what."""
    silent: tuple[str, ...]
    """Servers that do not answer, each with why."""
    servers: int
    ttl_s: int

    @property
    def everywhere(self) -> bool:
        """Whether all of them have it."""
        return self.servers > 0 and not self.behind and not self.silent

    @property
    def text(self) -> str:
        """For people."""
        have = self.servers - len(self.behind) - len(self.silent)
        return "; ".join([f"{have} of {self.servers} servers are there", *self.behind, *self.silent])


def published(answers: Answers, key: PrivateKey) -> Visibility:
    """Whether each server has this key's record and no other."""
    return _judged(answers, [_other_than(key, answer.records) for answer in answers.servers])


def withdrawn(answers: Answers, key: PrivateKey | None = None) -> Visibility:
    """Whether no server has this key at the name any more; without `key`, which is lost then: any key."""
    return _judged(answers, ["is still published" if _has(a.records, key) else "" for a in answers.servers])


def has_key(records: Sequence[bytes]) -> bool:
    """Whether there is anything but revoked keys (RFC 6376 section 3.6.1)."""
    return not all(_is_revoked(record) for record in records)


def _has(records: Sequence[bytes], key: PrivateKey | None) -> bool:
    return has_key(records) if key is None else any(not _other_than(key, [record]) for record in records)


def _is_revoked(record: bytes) -> bool:
    try:
        parse_key(record)
    except KeyRecordError as error:
        return str(error) == _REVOKED
    return False


def _other_than(key: PrivateKey, records: Sequence[bytes]) -> str:
    if not records:
        return "no record"
    if len(records) > 1:
        return f"{len(records)} TXT records"
    try:
        public = parse_key(records[0])
    except KeyRecordError as error:
        return str(error)
    if not key.matches(public):
        return "another key"
    return "" if public.sha256_allowed else "not for sha256"


def _judged(answers: Answers, problems: Sequence[str]) -> Visibility:
    both = list(zip(answers.servers, problems, strict=True))
    return Visibility(
        behind=tuple(f"{answer.server}: {problem}" for answer, problem in both if problem and not answer.silence),
        silent=tuple(f"{answer.server}: {answer.silence}" for answer, _ in both if answer.silence),
        servers=len(both),
        ttl_s=max([answers.negative_ttl_s, *(answer.ttl_s for answer in answers.servers)]),
    )
