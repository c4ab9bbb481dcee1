"""Allow and deny lists, parsed once: networks by prefix length, addresses, domains and host names by suffix.

Asking costs one set lookup per distinct prefix length, or per label of a domain, however long the lists are.
"""

import ipaddress
from collections.abc import Iterable, Iterator

LABELS_MAX = 10
"""Suffixes of a domain that are looked up; a list entry has never more labels than this."""


class NetworkList:
    """IP addresses and CIDR networks of both families."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError for what is no address or network."""
        self._networks: dict[tuple[int, int], dict[int, str]] = {}
        for entry in entries:
            network = ipaddress.ip_network(entry, strict=False)
            host_bits = network.max_prefixlen - network.prefixlen
            held = self._networks.setdefault((network.version, host_bits), {})
            held[int(network.network_address) >> host_bits] = entry

    def match(self, ip: str) -> str | None:
        """The entry that holds this address; None when none does or it is no address."""
        if not self._networks:
            return None
        try:
            address = plain_address(ip)
        except ValueError:
            return None
        number = int(address)
        for (version, host_bits), held in self._networks.items():
            if version == address.version:
                entry = held.get(number >> host_bits)
                if entry is not None:
                    return entry
        return None


class AddressList:
    """Mail addresses and domains; a domain covers its subdomains."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(entry.strip().lower().removeprefix("@") for entry in entries)

    def match(self, address: str) -> str | None:
        """The entry that covers this address (lower case)."""
        if not self._entries:
            return None
        return next((key for key in address_keys(address) if key in self._entries), None)


class NameList:
    """Host names; one that begins with a dot covers every name below, and not the domain itself."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(entry.strip().lower().rstrip(".") for entry in entries)

    def match(self, name: str) -> str | None:
        """The entry that covers this name (lower case)."""
        if not self._entries:
            return None
        name = name.rstrip(".")
        above = name.split(".")[1:][-LABELS_MAX:]
        keys = (name, *("." + ".".join(above[start:]) for start in range(len(above))))
        return next((key for key in keys if key in self._entries), None)


def plain_address(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4-mapped IPv6 address is the IPv4 address. Raises ValueError."""
    address = ipaddress.ip_address(ip)
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def address_keys(address: str) -> Iterator[str]:
    """The keys under which a list may hold an address: itself, its domain, and the domains above it."""
    if not address:
        return
    yield address
    labels = address.rpartition("@")[2].rstrip(".").split(".")[-LABELS_MAX:]
    for start in range(len(labels)):
        yield ".".join(labels[start:])
