"""Who signs: OpenDKIM's decision between signing, verifying and leaving alone, with the reason of each rule.

The rules are looked at in OpenDKIM's order (opendkim(8), OPERATION): a peer's mail is left alone; mail without an
author's address is not signed; an exempt domain's is left alone (unlike there a stranger's only if DMARC takes that
for the author, too); then the mail has to come from one of ours (an MTA's
name, a macro, an internal host, an authenticated client), a table has to have a key for its author, and no recipient
may be one to whom nothing is signed. Whatever is looked at is kept as a `Step`, so `tamis dkim explain` prints what
the filter did and not what somebody thinks it does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from actors.dkim.signing.author import AuthorError, author_of
from actors.dkim.signing.hosts import HostList
from actors.dkim.signing.tables import (
    Address,
    Entry,
    NamedTable,
    PatternTable,
    SigningRequest,
    SigningTables,
    domain_names,
)
from actors.domains import ascii_domain
from actors.model import Client, Message
from actors.policy.author import Authors, read_authors

Members = NamedTable | PatternTable
"""A set of names or patterns; of its values only those of `resign_mail_to` are asked for."""
_NOBODY = NamedTable(())
_AUTHENTICATED = "authenticated"
_ORIGINS = frozenset({"MTA", "MacroList", "InternalHosts", _AUTHENTICATED})
"""Rules of which one has to apply for mail to be ours."""
_AUTHOR = "SenderHeaders"


class Disposition(StrEnum):
    """What is to be done with a message."""

    SIGN = "sign"
    VERIFY = "verify"
    IGNORE = "ignore"
    """Neither: a peer's mail, an exempt domain's, mail to where nothing is signed, or mode says so."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was looked at."""

    rule: str
    """OpenDKIM's name of the setting."""
    applies: bool
    text: str


@dataclass(frozen=True, slots=True)
class SigningRules:
    """OpenDKIM's settings of who is signed for; the defaults are its defaults."""

    signs: bool = True
    """Mode has "s"."""
    verifies: bool = True
    """Mode has "v"."""
    internal_hosts: HostList = field(default_factory=lambda: HostList(("127.0.0.1",)))
    external_ignore: HostList = field(default_factory=lambda: HostList(()))
    peers: HostList = field(default_factory=lambda: HostList(()))
    exempt_domains: Members = _NOBODY
    dont_sign_mail_to: Members = _NOBODY
    mtas: frozenset[str] = frozenset()
    """Names of the MTA's daemons (macro daemon_name) whose mail is ours."""
    macros: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Macros (names without braces) that make mail ours, by any value when there are none."""
    sender_headers: Sequence[str] = ("from",)
    resign_mail_to: Members = _NOBODY
    """Recipients whose mail is signed anew, although it is verified; the value is the key's name."""
    resign_all: bool = False
    """Also what has no signature that passes, but for authors of the key's own organization."""
    seal_mail_to: Members = _NOBODY
    """Recipients whose mail gets an ARC set."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, why, and with which keys."""

    disposition: Disposition
    steps: tuple[Step, ...]
    requests: tuple[SigningRequest, ...] = ()
    """Set exactly when the disposition is SIGN."""
    author: Address | None = None
    suspicious: bool = False
    """A stranger uses a domain that we sign for, and ExternalIgnoreList does not know him."""
    resign_key: str = ""
    """Set for some mail that is verified: the key that signs it when it leaves (ResignMailTo)."""

    @property
    def without_author(self) -> Step | None:
        """The step that says why there is nobody to sign for, of mail that comes from one of ours."""
        steps = (step for step in self.steps if step.rule == _AUTHOR and not step.applies)
        return next(steps, None) if self.of_origin else None

    @property
    def of_origin(self) -> bool:
        """Whether the mail comes from one of ours."""
        return any(step.applies for step in self.steps if step.rule in _ORIGINS)

    @property
    def deciding(self) -> Step:
        """The rule that decided: of mail that is signed the first that makes it ours, else the last one."""
        origins = (step for step in self.steps if step.applies and step.rule in _ORIGINS)
        return next(origins, self.steps[-1]) if self.disposition is Disposition.SIGN else self.steps[-1]


async def decide_signing(
    message: Message, macros: Mapping[str, str], rules: SigningRules, tables: SigningTables
) -> Decision:
    """Decide about a message whose header section is known. Raises TableError when the tables cannot be asked.

    `macros` are the MTA's, names without braces. The tables are asked for strangers too, who may use our domains.
    """
    begun = _without_tables(message, macros, rules)
    if begun.disposition is not Disposition.SIGN or begun.author is None:
        return _with_resigning(begun, message, rules)
    decision = _with_tables(begun, await tables.requests(begun.author), message, rules)
    return _with_resigning(decision, message, rules)


def decide_without_signing_table(message: Message, macros: Mapping[str, str], rules: SigningRules) -> Decision | None:
    """What holds whatever the SigningTable, which cannot be asked now, would say; None when it is for it to say."""
    begun = _without_tables(message, macros, rules)
    if begun.disposition is not Disposition.SIGN:
        return _with_resigning(begun, message, rules)
    silent = Step("SigningTable", applies=False, text="it cannot be asked")
    unsigned = replace(begun, disposition=_otherwise(rules), steps=(*begun.steps, silent))
    if not begun.of_origin or not rules.signs:
        return _with_resigning(unsigned, message, rules)
    return unsigned if _spared_recipient(message, rules) is not None else None


def _with_resigning(decision: Decision, message: Message, rules: SigningRules) -> Decision:
    entry = listed_recipient(message, rules.resign_mail_to)
    if entry is None or not entry.value or not rules.signs or decision.disposition is not Disposition.VERIFY:
        return decision
    key, which = entry.value.strip(), "" if rules.resign_all else ", if it verifies"
    step = Step("ResignMailTo", applies=True, text=f"signed with {key} for {entry.name}{which}")
    return replace(decision, steps=(*decision.steps, step), resign_key=key)


def listed_recipient(message: Message, members: Members) -> Entry | None:
    """What a list says of the first recipient it knows: by the address, the domain, then ".domain"s above it."""
    domains: dict[str, tuple[str, Entry | None]] = {}
    for recipient in message.envelope.recipients if len(members) else ():
        local, _, domain = recipient.address.decode("utf-8", "replace").rpartition("@")
        if domain not in domains:
            name = ascii_domain(domain)
            domains[domain] = name, members.first_of(domain_names(name))
        name, entry = domains[domain]
        if found := members.first_of([f"{local}@{name}"]) or entry:
            return found
    return None


def _without_tables(message: Message, macros: Mapping[str, str], rules: SigningRules) -> Decision:
    """The rules before the tables; SIGN means that it is for them to say."""
    client = message.envelope.client
    peer = rules.peers.match(_hostname(client), client.ip)
    steps = [] if peer is None else [Step("PeerList", peer.listed, f"{_place(client)} matches {peer.entry}")]
    if peer is not None and peer.listed:
        return Decision(Disposition.IGNORE, tuple(steps))
    try:
        author = author_of(message.fields_by_name, rules.sender_headers)
    except AuthorError as error:
        # The deciding step is the last one.
        steps += [*_origins(message, macros, rules), Step(_AUTHOR, applies=False, text=str(error))]
        return Decision(_otherwise(rules), tuple(steps))
    steps.append(Step(_AUTHOR, applies=True, text=f"the author is {author}"))
    steps += _origins(message, macros, rules)
    decision = Decision(Disposition.SIGN, tuple(steps), author=author)
    if not rules.exempt_domains.find_now([author.domain]):
        return decision
    # A stranger writes what he likes: only what DMARC, too, takes for the one author exempts his mail.
    exempt = decision.of_origin or read_authors(message) == Authors("", author.domain)
    text = f"{author.domain} is exempt{'' if exempt else ', but not surely the author'}"
    disposition = Disposition.IGNORE if exempt else Disposition.SIGN
    return replace(decision, disposition=disposition, steps=(*steps, Step("ExemptDomains", exempt, text)))


def _with_tables(
    begun: Decision, requests: tuple[SigningRequest, ...], message: Message, rules: SigningRules
) -> Decision:
    """The rest, once the tables have spoken."""
    author, client = begun.author, message.envelope.client
    steps = [*begun.steps, _table_step(author, requests)]
    stranger = not begun.of_origin
    suspicious = False
    if stranger and requests:
        known = rules.external_ignore.match(_hostname(client), client.ip)
        suspicious = known is None or not known.listed
        said = "is a stranger and sends as" if suspicious else "may send as"
        steps.append(Step("ExternalIgnoreList", not suspicious, f"{_place(client)} {said} {begun.author}"))
    spared = None if stranger or not requests else _spared_recipient(message, rules)
    if spared is not None:
        steps.append(Step("DontSignMailTo", applies=True, text=f"nothing is signed for {spared}"))
        return Decision(Disposition.IGNORE, tuple(steps), author=author)
    if not rules.signs:
        steps.append(Step("Mode", applies=True, text="this filter does not sign"))
    if stranger or not requests or not rules.signs:
        return Decision(_otherwise(rules), tuple(steps), author=author, suspicious=suspicious)
    return Decision(Disposition.SIGN, tuple(steps), requests, author)


def _spared_recipient(message: Message, rules: SigningRules) -> str | None:
    """The first recipient for whom nothing is signed: one is enough (opendkim.conf(5), DontSignMailTo)."""
    addresses = (recipient.address.decode("utf-8", "replace") for recipient in message.envelope.recipients)
    return next((address for address in addresses if rules.dont_sign_mail_to.find_now([address])), None)


def _hostname(client: Client) -> str:
    return client.hostname.decode("ascii", "replace")


def _place(client: Client) -> str:
    return f"client {_hostname(client) or 'unknown'} [{client.ip}]"


def _otherwise(rules: SigningRules) -> Disposition:
    return Disposition.VERIFY if rules.verifies else Disposition.IGNORE


def _origins(message: Message, macros: Mapping[str, str], rules: SigningRules) -> Iterator[Step]:
    """Each way in which mail can be ours; one is enough, all are told."""
    client, daemon = message.envelope.client, message.envelope.daemon_name
    if rules.mtas:
        known = daemon in rules.mtas
        yield Step("MTA", known, f"the MTA's daemon {daemon or 'without name'} is {'' if known else 'not '}listed")
    if rules.macros:
        held = [
            name for name, values in rules.macros.items() if name in macros and (not values or macros[name] in values)
        ]
        yield Step("MacroList", bool(held), f"macro {held[0]} is as listed" if held else "no macro is as listed")
    host = rules.internal_hosts.match(_hostname(client), client.ip)
    said = f"matches {host.entry}" if host else "is not listed"
    yield Step("InternalHosts", host is not None and host.listed, f"{_place(client)} {said}")
    authenticated = bool(client.auth_type or client.auth_user)
    said = f"authenticated by {client.auth_type or 'the MTA'}" if authenticated else "not authenticated"
    yield Step(_AUTHENTICATED, authenticated, said)


def _table_step(author: Address | None, requests: Sequence[SigningRequest]) -> Step:
    if not requests:
        return Step("SigningTable", applies=False, text=f"no entry for {author}")
    named = (f"{one.matched} asks for {one.name} (d={one.domain}, s={one.selector})" for one in requests)
    return Step("SigningTable", applies=True, text="; ".join(named))
