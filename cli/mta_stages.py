"""What an MTA tells a milter about one message: the events in Postfix's order, and the macros before each. Pure."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cli.edits import Fields, Mail
from wire.milter import constants as c
from wire.milter import events as ev

BODY_CHUNK_BYTES = c.DATA_BYTES_64K
HEADER_BYTES_MAX = 102_400
"""Postfix header_size_limit: what is longer is cut."""

StageMacros = Mapping[int, Mapping[bytes, bytes]]
"""Command that they go before -> name -> value."""

# postconf(5) milter_*_macros of Postfix 3.7, by the command they go before.
STAGE_MACROS: Mapping[int, tuple[bytes, ...]] = {
    c.SMFIC_CONNECT: (b"j", b"{daemon_name}", b"{daemon_addr}", b"{client_addr}", b"v"),
    c.SMFIC_HELO: (b"{tls_version}", b"{cipher}", b"{cipher_bits}", b"{cert_subject}", b"{cert_issuer}"),
    # No `i` yet: Postfix opens the queue file at the first recipient that it takes.
    c.SMFIC_MAIL: (b"{auth_type}", b"{auth_authen}", b"{auth_author}", b"{mail_addr}", b"{mail_mailer}"),
    c.SMFIC_RCPT: (b"i", b"{rcpt_addr}", b"{rcpt_mailer}"),
    c.SMFIC_DATA: (b"i",),
    c.SMFIC_HEADER: (b"i",),
    c.SMFIC_EOH: (b"i",),
    c.SMFIC_BODY: (b"i",),
    c.SMFIC_BODYEOB: (b"i",),
}
OFFER = ev.Negotiate(c.VERSION_MAX, c.ALL_ACTIONS, c.OFFERED_STEPS)
_LISTED_STAGES: Mapping[int, tuple[int, ...]] = {
    c.SMFIM_CONNECT: (c.SMFIC_CONNECT,),
    c.SMFIM_HELO: (c.SMFIC_HELO,),
    c.SMFIM_ENVFROM: (c.SMFIC_MAIL,),
    c.SMFIM_ENVRCPT: (c.SMFIC_RCPT,),
    c.SMFIM_DATA: (c.SMFIC_DATA,),
    c.SMFIM_EOH: (c.SMFIC_HEADER, c.SMFIC_EOH),
    c.SMFIM_EOM: (c.SMFIC_BODY, c.SMFIC_BODYEOB),
}


@dataclass(frozen=True, slots=True)
class Client:
    """The SMTP client that the MTA reports, and how it talks."""

    ip: str = "127.0.0.1"
    """Empty: a client without an address. A path when `family` is SMFIA_UNIX."""
    hostname: bytes = b""
    port: int = 54321
    family: bytes = b""
    """One of SMFIA_*; empty: what `ip` looks like."""
    helo: bytes = b"mail.example.com"
    delay_s: float = 0.0
    """Pause before each SMTP command: a client that is this far away."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the MTA talks to the filter; the defaults are Postfix's."""

    offer: ev.Negotiate = OFFER
    mail_args: tuple[bytes, ...] = ()
    """ESMTP arguments of MAIL, instead of SIZE."""
    recipient_args: tuple[bytes, ...] = ()
    unknown: tuple[bytes, ...] = ()
    """SMTP commands that the MTA does not know, said after HELO."""
    says_data: bool = True
    chunk_bytes: int = BODY_CHUNK_BYTES
    macros: Mapping[bytes, bytes] = field(default_factory=dict)
    """Values for names of any stage; a name that no stage has goes before MAIL."""
    stage_macros: StageMacros = field(default_factory=dict)
    """Further macros of one stage each; they win over all others there."""


class Macros:
    """The macros of one connection: what the filter asked for, with the values of one message at a time."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._names = dict(STAGE_MACROS)
        self._values: dict[bytes, bytes] = {}

    def choose(self, symlists: tuple[tuple[int, bytes], ...]) -> None:
        """The filter's own lists (SETSYMLIST)."""
        for stage, names in symlists:
            for command in _LISTED_STAGES.get(stage, ()):
                self._names[command] = tuple(names.split())

    def begin(self, mail: Mail, client: Client) -> None:
        """The values of the next message."""
        known = {name for names in self._names.values() for name in names}
        self._values = {
            b"i": secrets.token_hex(6).upper().encode(),
            b"j": b"mx.example.org",
            b"v": b"Postfix 3.7.11",
            b"{daemon_name}": b"smtpd",
            b"{daemon_addr}": b"127.0.0.1",
            b"{client_addr}": client.ip.encode(),
            b"{mail_addr}": mail.sender,
            b"{mail_mailer}": b"smtp",
            b"{rcpt_mailer}": b"local",
        }
        for given, value in self._manner.macros.items():
            name = braced(given)
            self._values[name] = value
            if name not in known:
                self._names[c.SMFIC_MAIL] += (name,)

    def recipient(self, address: bytes) -> None:
        """The recipient that comes next."""
        self._values[b"{rcpt_addr}"] = address

    def before(self, command: int) -> ev.Macros | None:
        """What goes before a command; None when the MTA has no macros there."""
        own = self._manner.stage_macros.get(command)
        names = self._names.get(command)
        if not names and not own:
            return None
        values = {name: self._values[name] for name in names or () if self._values.get(name)}
        for given, value in (own or {}).items():
            values[braced(given)] = value
        return ev.Macros(command, tuple(values.items()))


def braced(name: bytes) -> bytes:
    """A macro's name as MTAs write it: one letter bare, longer ones in braces."""
    return name if len(name) == 1 or name.startswith(b"{") else b"{%b}" % name


def connect_event(client: Client) -> ev.Connect:
    """CONNECT for this client."""
    address = client.ip.encode()
    family = client.family or _family(client.ip)
    if family == c.SMFIA_UNKNOWN:
        return ev.Connect(client.hostname or b"localhost", family, 0, b"")
    if family == c.SMFIA_UNIX:
        return ev.Connect(client.hostname or b"localhost", family, 0, address)
    return ev.Connect(client.hostname or b"[%b]" % address, family, client.port, address)


def _family(ip: str) -> bytes:
    if not ip:
        return c.SMFIA_UNKNOWN
    return c.SMFIA_INET6 if ":" in ip else c.SMFIA_INET


def greeting(client: Client, manner: Manner) -> Iterator[ev.Event]:
    """What comes once per connection."""
    yield connect_event(client)
    yield ev.Helo(client.helo)
    for line in manner.unknown:
        yield ev.Unknown(line)


def mail_event(mail: Mail, manner: Manner) -> ev.Mail:
    """MAIL, with the message's size unless other arguments are given."""
    size_bytes = sum(len(name) + len(value) + 3 for name, value in mail.fields) + 2 + len(mail.body)
    return ev.Mail(b"<%b>" % mail.sender, manner.mail_args or (b"SIZE=%d" % size_bytes,))


def content_events(mail: Mail, manner: Manner, *, leading_space: bool) -> Iterator[ev.Event]:
    """DATA to the last piece of the body; `leading_space`: SMFIP_HDR_LEADSPC was negotiated."""
    if manner.says_data:
        yield ev.Data()
    yield from _headers(mail.fields, leading_space=leading_space)
    yield ev.EndOfHeaders()
    for start in range(0, len(mail.body), manner.chunk_bytes):
        yield ev.Body(mail.body[start : start + manner.chunk_bytes])


def _headers(fields: Fields, *, leading_space: bool) -> Iterator[ev.Header]:
    for name, value in fields:
        # Strings of C: what stands after a NUL is not seen by filters.
        text = value.replace(b"\r\n", b"\n").partition(b"\0")[0][:HEADER_BYTES_MAX]
        yield ev.Header(name.partition(b"\0")[0], text if leading_space else text.removeprefix(b" "))
