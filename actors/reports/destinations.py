"""Where reports about a domain go: the mailto URIs of its record, those elsewhere only if they want them (RFC 9990 4).

The record is asked for anew when reports leave, so that they go where their owner wants them now. Whoever publishes a
record names addresses as he likes: few are taken, each of plain characters, and a host of another organization has to
confirm by `DOMAIN._report._dmarc.HOST` before anything goes there.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

import msgspec

from actors.domains import ascii_domain
from actors.policy.dmarc import Answers, Record, ask_walks, organizational_domain, parse_record, parse_records, walk
from actors.ports import LookupFailed, NameNotFound, Resolver
from actors.reports.names import is_mailbox

URIS_MAX = 10
"""URIs of one record that are looked at (RFC 9990 section 3.5: up to the limits of whoever reports)."""
_NAME_CHARS_MAX = 253
_SIZE = re.compile(r"!\d{1,20}[kmgt]?\Z", re.IGNORECASE)
"""RFC 9989 section 4.8: obsolete, to be ignored."""


class Destination(msgspec.Struct, frozen=True):
    """One URI of a record, and what became of it."""

    address: str
    """Mail address, its domain in lower case; the URI as it was, cut, when that is no address."""
    refused: str = ""
    """Why nothing goes there; "" = it may."""
    later: bool = False
    """Refused for now: DNS gave no answer."""


async def destinations(domain: str, resolver: Resolver) -> tuple[Destination, ...]:
    """For each URI of the record of this Policy Domain where it leads. Raises LookupFailed; () when none is wanted."""
    try:
        record = parse_records(await resolver.txt(f"_dmarc.{domain}"))
    except NameNotFound:
        return ()
    if record is None:
        return ()
    found = read_uris(record.rua)
    hosts = {_host(one.address) for one in found if not one.refused}
    elsewhere = sorted(hosts - {domain})
    answers = await ask_walks([domain, *elsewhere], resolver) if elsewhere else {}
    confirmed = {host: await _confirmed(domain, host, answers, resolver) for host in elsewhere}
    checked: dict[str, Destination] = {}
    for one in found:
        checked |= {kept.address: kept for kept in _checked(one, confirmed)}
    return tuple(checked.values())


def read_uris(rua: str) -> tuple[Destination, ...]:
    """The URIs of a `rua` tag; those that are no plain mail address are refused, and all beyond URIS_MAX together."""
    uris = [uri.strip() for uri in rua.split(",", URIS_MAX)]
    found = [_read(uri) for uri in uris[:URIS_MAX] if uri]
    if len(uris) > URIS_MAX:
        found.append(Destination("", refused=f"only {URIS_MAX} URIs are looked at"))
    return tuple(found)


def _read(uri: str) -> Destination:
    scheme, _, rest = _SIZE.sub("", uri).partition(":")
    shown = "".join(char if char.isprintable() else "?" for char in uri[:100])
    if scheme.lower() != "mailto":
        return Destination(shown, refused="no mailto URI")
    local_part, _, host = unquote(rest.partition("?")[0]).rpartition("@")
    address = f"{local_part}@{ascii_domain(host)}"
    return Destination(address) if is_mailbox(address) else Destination(shown, refused="no plain mail address")


def _host(address: str) -> str:
    return address.rpartition("@")[2]


def _checked(one: Destination, confirmed: Mapping[str, "_Answer"]) -> Sequence[Destination]:
    """The destination, or what the host put in its place."""
    host = _host(one.address)
    if one.refused or host not in confirmed:
        return [one]
    answer = confirmed[host]
    if answer.refused:
        return [msgspec.structs.replace(one, refused=answer.refused, later=answer.later)]
    return answer.instead or [one]


class _Answer(msgspec.Struct, frozen=True):
    """What a host says about reports on another's domain."""

    refused: str = ""
    later: bool = False
    instead: tuple[Destination, ...] = ()
    """Addresses at the host, in place of the one in the domain's record."""


async def _confirmed(domain: str, host: str, answers: Answers, resolver: Resolver) -> _Answer:
    """RFC 9990 section 4."""
    try:
        if organizational_domain(domain, walk(domain, answers)) == organizational_domain(host, walk(host, answers)):
            return _Answer()
        name = f"{domain}._report._dmarc.{host}"
        if len(name) > _NAME_CHARS_MAX:
            return _Answer(refused=f"{host} cannot confirm: the name would be too long")
        texts = await resolver.txt(name)
    except NameNotFound:
        return _Answer(refused=f"{host} does not confirm that it wants reports about {domain}")
    except LookupFailed:
        return _Answer(refused=f"DNS gave no answer about {host}", later=True)
    records = [record for record in map(parse_record, texts) if record is not None]
    if not records:
        return _Answer(refused=f"{host} does not confirm that it wants reports about {domain}")
    return _instead(host, records)


def _instead(host: str, records: Iterable[Record]) -> _Answer:
    """A host may name other addresses of its own, and no others (step 9)."""
    rua = next((record.rua for record in records if record.rua), "")
    instead = tuple(one for one in read_uris(rua) if not one.refused)
    if rua and (not instead or any(_host(one.address) != host for one in instead)):
        return _Answer(refused=f"{host} wants reports somewhere else")
    return _Answer(instead=instead)
