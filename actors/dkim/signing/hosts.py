"""Lists of hosts as OpenDKIM reads them (opendkim.conf(5), PeerList): names, domains, addresses, networks, "!" for not.

The client's name is looked for first, from the whole name up to its last superdomain, then its address, from the single
address to ever larger networks: the first entry found decides, so "192.0.2.1" wins over "!192.0.2.0/24". Only what a
client has in the list is compared: a list of ten thousand hosts costs a few look-ups.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from actors.dkim.signing.tables import matches

T = TypeVar("T")
_NAME_CHARS_MAX = 253
_ADDRESS_CHARS = frozenset("0123456789abcdef.:/[]")


@dataclass(frozen=True, slots=True)
class HostMatch:
    """The entry that decided."""

    entry: str
    listed: bool
    """False for an entry with "!"."""


class HostList:
    """The clients that a list means."""

    def __init__(self, entries: Iterable[str], patterns: Iterable[str] = ()) -> None:
        """`patterns` hold "*" for any text. Raises ValueError for a network that is none."""
        self._patterns = tuple(patterns)
        self._names: dict[str, HostMatch] = {}
        self._networks: dict[tuple[int, int, int], HostMatch] = {}
        for entry in entries:
            text = entry.strip().lower()
            match = HostMatch(entry, listed=not text.startswith("!"))
            text = text.removeprefix("!")
            network = _network(text)
            if network is None:
                # A name excluded and listed is excluded, as a network is.
                self._add(self._names, text, match)
            else:
                self._add(self._networks, (network.version, network.prefixlen, int(network.network_address)), match)
        self._lengths = {
            version: sorted({length for kind, length, _ in self._networks if kind == version}, reverse=True)
            for version in (4, 6)
        }

    def match(self, hostname: str, ip: str) -> HostMatch | None:
        """The entry that decides about this client, None without any; `hostname` as the MTA verified it."""
        by_name = next(filter(None, map(self._match_name, _names(hostname))), None)
        if by_name is not None and by_name.listed:
            return by_name
        # OpenDKIM asks for the address when the name is not listed, also when an entry with "!" says so.
        return self._match_address(ip) or by_name

    def _match_address(self, ip: str) -> HostMatch | None:
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number, bits = int(address), address.max_prefixlen
        if (address.version, bits, number) not in self._networks and (by_pattern := self._match_pattern(str(address))):
            return by_pattern
        for length in self._lengths[address.version]:
            start = number >> (bits - length) << (bits - length)
            match = self._networks.get((address.version, length, start))
            if match is not None:
                return match
        return None

    def _match_name(self, name: str) -> HostMatch | None:
        return self._names.get(name) or self._match_pattern(name)

    def _match_pattern(self, text: str) -> HostMatch | None:
        """OpenDKIM looks for "!" and the text first, so a pattern that begins with "*" excludes."""
        for looked_for, listed in ((f"!{text}", False), (text, True)):
            for pattern in self._patterns:
                if matches(pattern.lower(), looked_for):
                    return HostMatch(pattern, listed)
        return None

    @staticmethod
    def _add(matches: dict[T, HostMatch], key: T, match: HostMatch) -> None:
        if key not in matches or not match.listed:
            matches[key] = match


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network of an entry, None for a name. Raises ValueError for what has a "/" and is none."""
    plain = text.replace("[", "").replace("]", "")
    try:
        network = ipaddress.ip_network(plain, strict=False)
    except ValueError:
        if "/" in text:
            # Other text than that of an address is not told: it may be a line of somebody's PEM.
            told = repr(text) if _ADDRESS_CHARS.issuperset(text) else "an entry with a slash"
            raise ValueError(f"{told} is no network") from None
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), network.prefixlen - 96))
    return network


def _names(hostname: str) -> Iterator[str]:
    """The name and its superdomains with the leading dot, "mail.example.org", ".example.org", ".org"."""
    name = hostname.lower().rstrip(".")[:_NAME_CHARS_MAX]
    if name:
        yield name
    while "." in name:
        name = name.partition(".")[2]
        yield f".{name}"
