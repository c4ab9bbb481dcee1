r"""Milter conversations as text files: the specification that codec, gateway and a real MTA are held against.

One line, one word of the conversation; `#` starts a comment line. The first letter says whose:

    M: MAIL <a@example.com> SIZE=1    the MTA says it
    F: REPLYCODE 550 5.7.1 No         the filter answers it
    X: BODY text                      the MTA says it, breaking a rule: the filter closes the connection
    N: SKIP                           the filter may not say it here

A dialog is played in each of WAYS, unless a line of it says why it cannot be: `#! postfix: no, it breaks no rule`.
N lines are about the codec alone. Played against others, a dialog is what both sides mean: see test_gateway.py and
test_postfix.py for what is not compared.

Words are Sendmail's names (constants.py) without prefix. Header fields are written `Name:value`, the value from right
after the colon, so `Subject: hi` has a leading space. `\r \n \t \0 \\ \xHH` stand for bytes. X also takes `RAW bytes`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import encode_frame
from wire.milter.writers import COMMAND_WRITERS

WAYS = ("codec", "gateway", "postfix")
DIALOGS = tuple(sorted(Path(__file__).parent.glob("*.dialog")))

_REFUSAL = re.compile(rb"#! ([a-z]+): no, (\S.*)")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_CHARACTERS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_COMMANDS = {name: code for code, name in c.COMMAND_NAMES.items()}


@dataclass(frozen=True)
class Line:
    """One line of a dialog."""

    number: int
    side: str
    value: object
    """An event for M and X, a reply for F and N, bytes for X: RAW."""


@dataclass(frozen=True)
class Dialog:
    """One file."""

    name: str
    lines: tuple[Line, ...]
    refusals: Mapping[str, str]
    """Way in which it cannot be played -> the reason."""

    def turns(self) -> Iterator[tuple[Line, list[object]]]:
        """What the MTA says (M and X), each with what the filter answers to it."""
        spoken = [line for line in self.lines if line.side != "N"]
        while spoken:
            line, *spoken = spoken
            answers = list(takewhile(lambda further: further.side == "F", spoken))
            spoken = spoken[len(answers) :]
            yield line, [answer.value for answer in answers]


def dialogs(way: str) -> list[Dialog]:
    """Those that can be played in this way."""
    return [dialog for dialog in map(read, DIALOGS) if way not in dialog.refusals]


def read(path: Path) -> Dialog:
    lines = []
    refusals = {}
    for number, text in enumerate(path.read_bytes().split(b"\n"), start=1):
        if text.startswith(b"#!"):
            refusal = _REFUSAL.fullmatch(text)
            if refusal is None or refusal[1].decode() not in WAYS:
                raise ValueError(f"{path.name}:{number}: no `#! way: no, reason`")
            refusals[refusal[1].decode()] = refusal[2].decode()
        if not text.strip() or text.startswith(b"#"):
            continue
        side, colon, said = text.partition(b": ")
        if not colon or side not in (b"M", b"F", b"X", b"N"):
            raise ValueError(f"{path.name}:{number}: no `M: `, `F: `, `X: ` or `N: ` at its start")
        word, _, rest = said.partition(b" ")
        table = _SAID_BY_MTA if side in (b"M", b"X") else _SAID_BY_FILTER
        make = table.get(word.decode())
        if make is None:
            raise ValueError(f"{path.name}:{number}: no such word {word!r}")
        lines.append(Line(number, side.decode(), make(rest)))
    return Dialog(path.stem, tuple(lines), refusals)


def encode(value: object) -> bytes:
    """The bytes of what an MTA says, whether it may or not."""
    if isinstance(value, bytes):
        return value
    command, write = COMMAND_WRITERS[type(value)]
    return encode_frame(command, write(value))


def _unescape(text: bytes) -> bytes:
    def character(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1][1:].decode()) if match[1][:1] == b"x" else _CHARACTERS[match[1]]

    return _ESCAPE.sub(character, text)


def _words(text: bytes) -> list[bytes]:
    return [_unescape(word) for word in text.split(b" ")] if text else []


def _numbers(text: bytes) -> dict[str, int]:
    pairs = (word.partition(b"=") for word in text.split())
    return {name.decode(): int(value, 0) for name, _, value in pairs}


def _negotiated(text: bytes) -> ev.Negotiated:
    numbers, *lists = text.split(b" list ")
    symlists = tuple((int(stage), names) for stage, _, names in (entry.partition(b" ") for entry in lists))
    return ev.Negotiated(**_numbers(numbers), symlists=symlists)


def _macros(text: bytes) -> ev.Macros:
    command, *pairs = text.split(b" ")
    parted = (pair.partition(b"=") for pair in pairs)
    return ev.Macros(
        _COMMANDS[command.decode()], tuple((_unescape(name), _unescape(value)) for name, _, value in parted)
    )


def _connect(text: bytes) -> ev.Connect:
    hostname, family, port, address = _words(text)
    return ev.Connect(hostname, family, int(port), address)


def _field(text: bytes) -> tuple[bytes, bytes]:
    name, _, value = text.partition(b":")
    return _unescape(name), _unescape(value)


def _numbered_field(text: bytes) -> tuple[int, bytes, bytes]:
    number, _, field = text.partition(b" ")
    return int(number), *_field(field)


def _envelope(kind: type[ev.Mail | ev.Recipient]) -> Callable[[bytes], object]:
    def make(text: bytes) -> object:
        address, *args = _words(text)
        return kind(address, tuple(args))

    return make


def _with_args(kind: type[ev.ChangeFrom | ev.AddRecipientPar]) -> Callable[[bytes], object]:
    def make(text: bytes) -> object:
        address, _, args = text.partition(b" ")
        return kind(_unescape(address), _unescape(args))

    return make


def _of_text(kind: Callable[[bytes], object]) -> Callable[[bytes], object]:
    return lambda text: kind(_unescape(text))


def _bare(kind: Callable[[], object]) -> Callable[[bytes], object]:
    return lambda _text: kind()


_SAID_BY_MTA: dict[str, Callable[[bytes], object]] = {
    "NEGOTIATE": lambda text: ev.Negotiate(**_numbers(text)),
    "MACRO": _macros,
    "CONNECT": _connect,
    "HELO": _of_text(ev.Helo),
    "MAIL": _envelope(ev.Mail),
    "RCPT": _envelope(ev.Recipient),
    "DATA": _bare(ev.Data),
    "UNKNOWN": _of_text(ev.Unknown),
    "HEADER": lambda text: ev.Header(*_field(text)),
    "EOH": _bare(ev.EndOfHeaders),
    "BODY": _of_text(ev.Body),
    "BODYEOB": _of_text(ev.EndOfBody),
    "ABORT": _bare(ev.Abort),
    "QUIT": _bare(ev.Quit),
    "QUIT_NC": _bare(ev.QuitNewConnection),
    "RAW": _unescape,
}
_SAID_BY_FILTER: dict[str, Callable[[bytes], object]] = {
    "NEGOTIATED": _negotiated,
    "CONTINUE": _bare(ev.Continue),
    "ACCEPT": _bare(ev.Accept),
    "REJECT": _bare(ev.Reject),
    "DISCARD": _bare(ev.Discard),
    "TEMPFAIL": _bare(ev.Tempfail),
    "PROGRESS": _bare(ev.Progress),
    "SKIP": _bare(ev.Skip),
    "CONN_FAIL": _bare(ev.ConnectionFail),
    "SHUTDOWN": _bare(ev.Shutdown),
    "REPLYCODE": _of_text(ev.ReplyCode),
    "ADDHEADER": lambda text: ev.AddHeader(*_field(text)),
    "INSHEADER": lambda text: ev.InsertHeader(*_numbered_field(text)),
    "CHGHEADER": lambda text: ev.ChangeHeader(*_numbered_field(text)),
    "REPLBODY": _of_text(ev.ReplaceBody),
    "CHGFROM": _with_args(ev.ChangeFrom),
    "ADDRCPT": _of_text(ev.AddRecipient),
    "ADDRCPT_PAR": _with_args(ev.AddRecipientPar),
    "DELRCPT": _of_text(ev.DeleteRecipient),
    "QUARANTINE": _of_text(ev.Quarantine),
}
