"""The dialogs, played by a real Postfix: SMTP makes it say the M lines to a filter that answers the F lines.

What Postfix chooses itself is not compared: macros (which it also sends for commands that were declined), ABORT outside
of a message, the pieces of the body, and the fields that it adds to a message without them. What it told the SMTP
client must fit the filter's last answer.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, Self

import pytest

from bench.postfix import Postfix, why_not
from tests.conftest import skip_or_fail
from tests.dialogs.dialog import Dialog, dialogs
from tests.dialogs.scripted_filter import Conversation, ScriptedFilter
from wire.milter import State
from wire.milter import constants as c
from wire.milter import events as ev

pytestmark = pytest.mark.postfix

SMTP_TIMEOUT_S = 20.0
SETTINGS = {
    "inet_protocols": "all",
    "relay_domains": "static:all",
    "smtputf8_enable": "yes",
    "smtpd_authorized_xclient_hosts": "0.0.0.0/0 [::]/0",
}
ADDED = (b"Message-Id", b"Date", b"From")
_CONTENT = (ev.Header, ev.EndOfHeaders, ev.Body, ev.EndOfBody)
PLAYED = dialogs("postfix")


def version_of(dialog: Dialog) -> int:
    return next(line.value.version for line in dialog.lines if isinstance(line.value, ev.Negotiate))


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedFilter]:
    with ScriptedFilter() as running:
        yield running


@pytest.fixture(scope="module")
def postfix(request: pytest.FixtureRequest, scripted: ScriptedFilter) -> Iterator[Postfix]:
    if reason := why_not():
        skip_or_fail(reason)
    with Postfix(scripted.address, protocol=request.param, settings=SETTINGS) as server:
        yield server


class Smtp:
    """A client that writes bytes and reads replies, one at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), SMTP_TIMEOUT_S)
        self._lines: BinaryIO = self._socket.makefile("rb")
        self.reply = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_args: object) -> None:
        self._lines.close()
        self._socket.close()

    def say(self, line: bytes) -> bytes:
        self._socket.sendall(line + b"\r\n")
        self.reply = self._read()
        return self.reply

    def _read(self) -> bytes:
        reply = b""
        with suppress(ConnectionResetError):  # thrown out with 421, what we say goes nowhere
            while line := self._lines.readline():
                reply += line
                if line[3:4] != b"-":
                    break
        return reply.removesuffix(b"\r\n")


class Client:
    """Makes Postfix say what the MTA says in a dialog."""

    def __init__(self, smtp: Smtp, *, leading_space: bool) -> None:
        self._smtp = smtp
        self._colon = b":" if leading_space else b": "
        self._in_message = False
        self._content = bytearray()

    def say(self, event: object, following: Sequence[object]) -> bytes | None:
        """The reply, None when nothing was said to Postfix."""
        if isinstance(event, _CONTENT):
            return self._say_content(event, following)
        line = self._command(event)
        if line is None:
            return None
        reply = self._smtp.say(line)
        if isinstance(event, ev.Mail):
            self._in_message = reply.startswith(b"2")
        elif isinstance(event, ev.Abort | ev.Helo):
            self._in_message = False
        if isinstance(event, ev.Data) and reply.startswith(b"354") and not isinstance(following[0], _CONTENT):
            # The message is discarded already, which the client must not know.
            self._smtp.say(b".")
        return reply

    def _command(self, event: object) -> bytes | None:
        line = None
        match event:
            case ev.Connect():
                self._smtp.say(b"EHLO proxy.example.org")
                line = _xclient(event)
            case ev.Helo(name):
                line = b"EHLO " + name
            case ev.Mail(address, args):
                line = b" ".join((b"MAIL FROM:" + address, *args))
            case ev.Recipient(address, args):
                line = b" ".join((b"RCPT TO:" + address, *args))
            case ev.Data():
                line = b"DATA"
            case ev.Unknown(given):
                line = given
            case ev.Abort() if self._in_message:
                line = b"RSET"
            case ev.Quit():
                line = b"QUIT"
        return line

    def _say_content(self, event: object, following: Sequence[object]) -> bytes | None:
        """All of it is said with its last line."""
        if not self._content and not self._smtp.reply.startswith(b"354"):
            assert self._smtp.say(b"DATA").startswith(b"354"), self._smtp.reply
        match event:
            case ev.Header(name, value):
                self._content += name + self._colon + value.replace(b"\n", b"\r\n") + b"\r\n"
            case ev.EndOfHeaders():
                self._content += b"\r\n"
            case ev.Body(chunk) | ev.EndOfBody(chunk):
                self._content += chunk
        if following and isinstance(following[0], _CONTENT):
            return None
        content = bytes(self._content)
        self._content.clear()
        self._in_message = False
        return self._smtp.say(content + b".")


def _xclient(client: ev.Connect) -> bytes:
    address = client.address
    if address == b"unknown":
        return b"XCLIENT ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE] PORT=%d" % client.port
    if client.family == c.SMFIA_INET6:
        address = b"IPV6:" + address
    name = b"[UNAVAILABLE]" if client.hostname.startswith(b"[") else client.hostname
    return b"XCLIENT ADDR=%b NAME=%b PORT=%d" % (address, name, client.port)


def fits(reply: bytes, event: object, answer: object) -> bool:
    """Whether the SMTP client was told what the filter answered."""
    if isinstance(event, ev.Helo) and not isinstance(answer, ev.Shutdown):
        return reply.startswith(b"250")  # as in Sendmail: what is refused is what comes after it
    if isinstance(answer, ev.ReplyCode):
        return reply.startswith(answer.text[:3] if isinstance(event, ev.Connect) else answer.text)
    begins = {ev.Reject: b"5", ev.Tempfail: b"4", ev.Shutdown: b"421"}
    return reply.startswith(begins.get(type(answer), (b"2", b"354", b"500")))


def said(heard: Sequence[tuple[State, object]], added: Sequence[bytes]) -> list[object]:
    """Events without what Postfix chooses itself."""
    kept: list[object] = []
    for before, event in heard:
        if isinstance(event, ev.Macros) or (isinstance(event, ev.Abort) and before is State.IDLE):
            continue
        if isinstance(event, ev.Header) and event.name in added:
            continue
        if isinstance(event, ev.Body):
            if kept and isinstance(kept[-1], ev.Body):
                event = ev.Body(kept.pop().chunk + event.chunk)  # noqa: PLW2901
            if not event.chunk:
                continue
        kept.append(event)
    return kept


def states_before(turns: Sequence[tuple[object, list[object]]]) -> Iterator[tuple[State, object]]:
    """What the dialog's MTA says, with the state before each: only ABORT's matters."""
    in_message = False
    for event, answers in turns:
        yield (State.MAIL if in_message else State.IDLE), event
        if isinstance(event, ev.Mail):
            in_message = True
        elif isinstance(event, ev.Abort | ev.EndOfBody | ev.Helo):
            in_message = False
        elif isinstance(event, ev.Header | ev.EndOfHeaders | ev.Body):
            in_message = not answers or isinstance(answers[-1], ev.Continue | ev.Skip)


@pytest.mark.parametrize(
    ("postfix", "dialog"),
    [pytest.param(version_of(dialog), dialog, id=dialog.name) for dialog in PLAYED],
    indirect=["postfix"],
)
def test_postfix_says_what_is_said_in(dialog: Dialog, postfix: Postfix, scripted: ScriptedFilter) -> None:
    turns = [(line.value, answers) for line, answers in dialog.turns() if not isinstance(line.value, ev.Macros)]
    events = [event for event, _ in turns]
    (negotiated,) = turns[0][1]
    assert isinstance(negotiated, ev.Negotiated)
    peer = next(event.address for event in events if isinstance(event, ev.Connect))
    named = {event.name for event in events if isinstance(event, ev.Header)}
    added = [name for name in ADDED if name not in named]
    script = [answers for _, answers in turns[1:] if answers]
    scripted.conversation = conversation = Conversation(negotiated, script, peer, added)
    with Smtp(postfix.port) as smtp:
        client = Client(smtp, leading_space=bool(negotiated.steps & c.SMFIP_HDR_LEADSPC))
        for number, (event, answers) in enumerate(turns):
            reply = client.say(event, events[number + 1 :])
            if reply is not None and answers:
                assert fits(reply, event, answers[-1]), (event, reply)
    assert conversation.over.wait(SMTP_TIMEOUT_S), (conversation.heard, postfix.log[-2000:])
    expected = said(list(states_before(turns)), added)
    if isinstance(events[-2], ev.Connect | ev.Helo):
        assert expected.pop() == ev.Quit()  # a filter that refused the client hears no more of it
    assert said(conversation.heard, added) == expected


def test_every_version_of_postfix_is_played() -> None:
    assert {version_of(dialog) for dialog in PLAYED} == {2, 3, 4, 6}
