"""The options of `tamis send`: their words, and the client, manner of talking and mails that they make."""

import os
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.edits import Mail
from cli.mail_file import read_mail_file
from cli.mta import Timeouts
from cli.mta_stages import Client, Manner, StageMacros
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.names import ACTION_NAMES, STEP_NAMES
from wire.milter.values import BROKEN_VALUE, FIELD_NAME


class UsageError(ValueError):
    """An option asks for something impossible; the text is one line."""


class Family(StrEnum):
    """Of the SMTP client's connection."""

    INET = "inet"
    INET6 = "inet6"
    UNIX = "unix"
    UNKNOWN = "unknown"


class Show(StrEnum):
    """What is told of a message besides its row."""

    REPLIES = "replies"
    MESSAGE = "message"


FAMILIES = {
    Family.INET: c.SMFIA_INET,
    Family.INET6: c.SMFIA_INET6,
    Family.UNIX: c.SMFIA_UNIX,
    Family.UNKNOWN: c.SMFIA_UNKNOWN,
}
STAGES = {
    "connect": c.SMFIC_CONNECT,
    "helo": c.SMFIC_HELO,
    "mail": c.SMFIC_MAIL,
    "rcpt": c.SMFIC_RCPT,
    "data": c.SMFIC_DATA,
    "unknown": c.SMFIC_UNKNOWN,
    "header": c.SMFIC_HEADER,
    "eoh": c.SMFIC_EOH,
    "body": c.SMFIC_BODY,
    "eom": c.SMFIC_BODYEOB,
}
AUTH_MACROS = ("auth_authen", "auth_type", "auth_author")
TLS_MACROS = ("tls_version", "cipher", "cipher_bits")
PHASES = {"connect": "connect_s", "reading": "command_s", "writing": "write_s", "end-of-message": "content_s"}
TIMEOUT_S_MAX = 86_400
RECIPIENT = "recipient@example.org"
_ACTIONS_V2 = 0x3F
_STEPS_V2 = 0x7F | c.SMFIP_NR_HDR


def _option(text: str, metavar: str | None = None) -> object:
    return typer.Option(help=text, metavar=metavar)


Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Mail files; directories are not expanded.")]
To = Annotated[str, _option("Milter: inet:PORT@HOST, inet6:PORT@HOST or unix:PATH.")]
Sender = Annotated[str | None, _option("Envelope sender; default: Return-Path of the file.")]
Recipients = Annotated[list[str] | None, _option("Envelope recipient; may be repeated.")]
MailArgs = Annotated[list[str] | None, _option("ESMTP argument of MAIL instead of SIZE, e.g. SMTPUTF8.")]
RecipientArgs = Annotated[list[str] | None, _option("ESMTP argument of RCPT, e.g. NOTIFY=NEVER.")]
Headers = Annotated[list[str] | None, _option("Further header field; may be repeated.", "NAME: VALUE")]
ClientIp = Annotated[str, _option("Address of the SMTP client; a path with --family unix.")]
ClientName = Annotated[str, _option("Host name of the SMTP client; default: its address in brackets.")]
ClientPort = Annotated[int, typer.Option(help="Port of the SMTP client.", min=0, max=65535)]
FamilyOption = Annotated[Family | None, _option("Of the client's connection; default: what its address is.")]
Helo = Annotated[str, _option("HELO name of the SMTP client.")]
AuthName = Annotated[str, _option("Who logged in (macro auth_authen).")]
AuthType = Annotated[str, _option("SASL mechanism (macro auth_type).")]
AuthAuthor = Annotated[str, _option("For whom (macro auth_author).")]
Tls = Annotated[
    str,
    _option(
        "TLS of the client, as macros; its certificate by --macro helo:cert_subject=...", "VERSION[:CIPHER[:BITS]]"
    ),
]
MacroOption = Annotated[
    list[str] | None,
    _option(f"Further macro, of any stage or of one ({', '.join(STAGES)}); may be repeated.", "[STAGE:]K=V"),
]
UnknownCommands = Annotated[list[str] | None, _option("SMTP command that the MTA does not know, said after HELO.")]
DataOption = Annotated[bool, typer.Option("--data/--no-data", help="Whether DATA is told to the milter.")]
ChunkBytes = Annotated[int, typer.Option(help="Size of body chunks.", min=1, max=c.DATA_BYTES_64K)]
MilterVersion = Annotated[int, typer.Option(help="Newest version of the protocol that the MTA speaks.", min=2, max=6)]
Decline = Annotated[
    list[str] | None, _option("Action or step that the MTA does not offer, e.g. ADDHDRS or SKIP; may be repeated.")
]
TimeoutOption = Annotated[
    list[str] | None, _option("Seconds of a phase: connect, reading, writing, end-of-message.", "PHASE=SECONDS")
]
Concurrency = Annotated[int, typer.Option(help="Connections at a time.", min=1, max=1000)]
PerConnection = Annotated[int, typer.Option(help="Messages on one connection, RSET between them.", min=1)]
Repeat = Annotated[int, typer.Option(help="How often all files are sent.", min=1)]
ShowOption = Annotated[list[Show] | None, _option("Every answer with its time, or the message after the edits.")]
Diff = Annotated[bool, typer.Option("--diff", help="What the edits change, as a unified diff.")]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON object a message, with all of this.")]
Expect = Annotated[
    list[str] | None, _option("accept, reject, tempfail, discard or quarantine; one of them when repeated.")
]
ExpectEdit = Annotated[
    list[str] | None, _option("Edit that must be among those made, e.g. 'AddHeader X-Spam-Flag: YES'; repeatable.")
]
ExpectFile = Annotated[
    Path | None, _option("JSON as --json prints it: its action, reply and edits (all, in order) must come again.")
]


def read_mail(path: Path, sender: str | None, recipients: Sequence[str] | None, headers: Sequence[str] | None) -> Mail:
    """One mail file with its envelope and further header fields. Raises UsageError."""
    try:
        to = [os.fsencode(address) for address in recipients or [RECIPIENT]]
        mail = read_mail_file(path, None if sender is None else os.fsencode(sender), to).as_mail()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    return replace(mail, fields=(*mail.fields, *map(_header, headers or ())))


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = os.fsencode(text).partition(b":")
    if not colon or not FIELD_NAME.fullmatch(name) or BROKEN_VALUE.search(value):
        raise UsageError(f"--header {text!r}: write NAME: VALUE")
    return name, value


def client(ip: str, name: str, port: int, family: Family | None, helo: str) -> Client:
    """The SMTP client that the MTA reports."""
    return Client(ip, os.fsencode(name), port, FAMILIES[family] if family else b"", os.fsencode(helo))


def manner(  # noqa: PLR0913, PLR0917 - each is an option
    offered: ev.Negotiate,
    macros: tuple[dict[bytes, bytes], StageMacros],
    mail_args: Sequence[str] | None,
    recipient_args: Sequence[str] | None,
    unknown: Sequence[str] | None,
    says_data: bool,  # noqa: FBT001
    chunk_bytes: int,
) -> Manner:
    """How the MTA talks."""
    mail, recipient, commands = (tuple(map(os.fsencode, given or ())) for given in (mail_args, recipient_args, unknown))
    return Manner(offered, mail, recipient, commands, says_data, chunk_bytes, *macros)


def read_macros(
    texts: Sequence[str] | None, auth: tuple[str, str, str] = ("", "", ""), tls: str = ""
) -> tuple[dict[bytes, bytes], StageMacros]:
    """Macros of any stage, and those of one; `auth` is (name, type, author). Raises UsageError."""
    named = zip(AUTH_MACROS + TLS_MACROS, (*auth, *tls.split(":")), strict=False)
    plain = {os.fsencode(name): os.fsencode(value) for name, value in named if value}
    staged: dict[int, dict[bytes, bytes]] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        stage, colon, rest = name.partition(":")
        if colon and stage not in STAGES:
            raise UsageError(f"--macro {text!r}: no stage {stage!r}; there are {', '.join(STAGES)}")
        bare = rest if colon else name
        if not bare or not equals or "\0" in text:
            raise UsageError(f"--macro {text!r}: write NAME=VALUE or STAGE:NAME=VALUE")
        target = staged.setdefault(STAGES[stage], {}) if colon else plain
        target[os.fsencode(bare)] = os.fsencode(value)
    return plain, staged


def offer(version: int, declined: Sequence[str] | None) -> ev.Negotiate:
    """What an MTA of this version offers, without what is declined. Raises UsageError."""
    actions, steps = c.ALL_ACTIONS, c.OFFERED_STEPS
    if version < 6:
        actions, steps = _ACTIONS_V2, _STEPS_V2
        steps |= c.SMFIP_NOUNKNOWN if version >= 3 else 0
        steps |= c.SMFIP_NODATA if version >= 4 else 0
    for given in declined or ():
        name = given.upper().removeprefix("SMFIF_").removeprefix("SMFIP_")
        if name not in ACTION_NAMES and name not in STEP_NAMES:
            raise UsageError(f"--decline {given!r}: there are {', '.join([*ACTION_NAMES, *STEP_NAMES])}")
        actions &= ~ACTION_NAMES.get(name, 0)
        steps &= ~STEP_NAMES.get(name, 0)
    return ev.Negotiate(version, actions, steps)


def timeouts(texts: Sequence[str] | None) -> Timeouts:
    """The phases that are named; the others as in Postfix. Raises UsageError."""
    chosen: dict[str, float] = {}
    for text in texts or ():
        phase, _, seconds = text.partition("=")
        try:
            chosen[PHASES[phase]] = float(seconds)
        except (KeyError, ValueError):
            raise UsageError(f"--timeout {text!r}: write PHASE=SECONDS, PHASE of {', '.join(PHASES)}") from None
        if not 0 < chosen[PHASES[phase]] <= TIMEOUT_S_MAX:
            raise UsageError(f"--timeout {text!r}: more than 0 and at most {TIMEOUT_S_MAX} seconds")
    return Timeouts(**chosen)
