"""The local rules that still act when the cluster gave no answer: lists, a size, and rules that need no DNS. Pure.

Strategy: the first rule that matches decides, in an order of trust: the client, whose address cannot be forged; then
everything that refuses; last the senders that pass, which anyone may claim to be. They are asked about failed questions
only: while the cluster judges they say nothing. What is not known yet at a stage, or was not kept, matches nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

from gateway.transaction import Client, Transaction
from wire.config import Section

_FROM = re.compile(rb"(?mi)^From[ \t]*:")
"""RFC 5322 section 3.6: a message has exactly one From."""


class FallbackConfig(Section, frozen=True):
    """[gateway.fallback]: local rules for mail without an answer of the cluster, asked before [gateway.on_failure]."""

    allow_clients: tuple[str, ...] = ()
    """Networks or addresses whose mail passes, marked X-Tamis-Unfiltered; they are asked first."""
    deny_clients: tuple[str, ...] = ()
    """Networks or addresses that are refused (550 5.7.1)."""
    allow_senders: tuple[str, ...] = ()
    """Addresses, or domains with what is below them, whose mail passes marked; asked last, since senders are forged."""
    deny_senders: tuple[str, ...] = ()
    """Addresses or domains that are refused as senders."""
    deny_recipients: tuple[str, ...] = ()
    """Addresses or domains that are refused as recipients; a message only when all that it is for are denied."""
    deny_helos: tuple[str, ...] = ()
    """HELO names, with what is below them, or address literals that are refused."""
    message_bytes_max: int = 0
    """A larger message is refused (552 5.3.4); 0 = no bound of its own."""
    own_names: tuple[str, ...] = ()
    """Names and address literals of this MTA that no foreign client may use in HELO, besides the MTA's {j}."""
    rules: dict[str, str] = msgspec.field(default_factory=dict)
    """rule = reject or tempfail: forged_helo (one of `own_names`), bare_ip_helo, no_from, many_from."""

    def __post_init__(self) -> None:
        for name in ("allow_clients", "deny_clients"):
            for text in getattr(self, name):
                try:
                    ip_network(text)
                except ValueError:
                    raise ValueError(f"`{name}`: {text!r} is no network or address") from None
        for rule, action in self.rules.items():
            if rule not in RULES:
                raise ValueError(f"`rules`: {rule!r} is none of {', '.join(RULES)}")
            if action not in ("reject", "tempfail"):
                raise ValueError(f"`rules`: {rule} must be reject or tempfail")
        if self.message_bytes_max < 0:
            raise ValueError("`message_bytes_max` must not be negative")


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of the mail whose question failed; `transaction` is None before MAIL."""

    client: Client
    transaction: Transaction | None = None
    recipient: int | None = None
    """The RCPT that is asked about."""
    whole_message: bool = False
    hopeless: bool = False
    """No later stage of this transaction will be asked about."""


@dataclass(frozen=True, slots=True)
class LocalDecision:
    """What a local rule says."""

    rule: str
    action: str
    """accept, tempfail or reject."""


class Names:
    """A list of addresses and domains; a domain stands for what is below it too. Case does not count."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(entry.lower().strip(".") for entry in entries)

    def hold(self, name: bytes) -> bool:
        """Whether this address or domain name is in the list."""
        if not self._entries or not name:
            return False
        text = name.decode("utf-8", "replace").lower().rstrip(".")
        if text in self._entries:
            return True
        domain = text.rpartition("@")[2]
        while domain:
            if domain in self._entries:
                return True
            domain = domain.partition(".")[2]
        return False


class Fallback:
    """The rules of one configuration."""

    def __init__(self, config: FallbackConfig) -> None:
        self._config = config
        self._own_names = frozenset(name.lower().rstrip(".") for name in config.own_names)
        allow_clients, deny_clients = _networks(config.allow_clients), _networks(config.deny_clients)
        allow_senders, deny_senders = Names(config.allow_senders), Names(config.deny_senders)
        deny_helos, deny_recipients = Names(config.deny_helos), Names(config.deny_recipients)
        listed: list[tuple[str, str, Callable[[Case], bool]]] = [
            ("allow_clients", "accept", lambda case: _inside(case.client.ip, allow_clients)),
            ("deny_clients", "reject", lambda case: _inside(case.client.ip, deny_clients)),
            ("deny_helos", "reject", lambda case: deny_helos.hold(case.client.helo)),
            ("deny_senders", "reject", lambda case: deny_senders.hold(_sender(case))),
            ("deny_recipients", "reject", lambda case: _recipients_denied(case, deny_recipients)),
            ("message_bytes_max", "reject", self._too_large),
            *((rule, action, self._matcher(rule)) for rule, action in sorted(config.rules.items())),
            ("allow_senders", "accept", lambda case: allow_senders.hold(_sender(case))),
        ]
        self._rules = [entry for entry in listed if entry[0] in RULES or getattr(config, entry[0])]

    def decide(self, case: Case) -> LocalDecision | None:
        """What the first matching rule says; None = no rule matches."""
        for rule, action, matches in self._rules:
            if matches(case):
                return LocalDecision(rule, action)
        return None

    def _too_large(self, case: Case) -> bool:
        transaction = case.transaction
        return transaction is not None and transaction.message_bytes > self._config.message_bytes_max

    def _matcher(self, rule: str) -> Callable[[Case], bool]:
        return lambda case: RULES[rule](case, self._own_names)


def _forged_helo(case: Case, own_names: frozenset[str]) -> bool:
    """A client from elsewhere says that it is us."""
    client = case.client
    address = _address(client.ip)
    if address is None or address.is_loopback or not client.helo:
        return False
    helo = client.helo.decode("utf-8", "replace").lower().rstrip(".")
    return helo in own_names or helo == client.mta_name.lower()


def _bare_ip_helo(case: Case, _own_names: frozenset[str]) -> bool:
    # RFC 5321 section 4.1.3: an address in HELO stands in brackets.
    return _address(case.client.helo.decode("ascii", "replace")) is not None


def _no_from(case: Case, _own_names: frozenset[str]) -> bool:
    return _authors(case) == 0


def _many_from(case: Case, _own_names: frozenset[str]) -> bool:
    return (_authors(case) or 0) > 1


RULES: Final[Mapping[str, Callable[[Case, frozenset[str]], bool]]] = {
    "forged_helo": _forged_helo,
    "bare_ip_helo": _bare_ip_helo,
    "no_from": _no_from,
    "many_from": _many_from,
}
"""Rules that need neither a list nor DNS."""
DECISIONS: Final = (*(name for name in FallbackConfig.__struct_fields__ if name not in ("own_names", "rules")), *RULES)
"""Every name that a decision may carry."""


def _authors(case: Case) -> int | None:
    """How many From fields the message has; None while there is no message."""
    transaction = case.transaction
    if not case.whole_message or transaction is None or transaction.header_block is None:
        return None
    return len(_FROM.findall(transaction.header_block))


def _sender(case: Case) -> bytes:
    return case.transaction.sender if case.transaction is not None else b""


def _recipients_denied(case: Case, denied: Names) -> bool:
    transaction = case.transaction
    if transaction is None:
        return False
    if case.recipient is not None:
        return case.recipient < len(transaction.recipients) and denied.hold(
            transaction.recipients[case.recipient].address
        )
    left = [known for index, known in enumerate(transaction.recipients) if index not in transaction.refused]
    return case.whole_message and bool(left) and all(denied.hold(known.address) for known in left)


def _networks(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(text) for text in texts]


def _inside(ip: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    address = _address(ip)
    return address is not None and any(address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A client of a dual-stack socket is the IPv4 client that the lists name.
    return getattr(address, "ipv4_mapped", None) or address
