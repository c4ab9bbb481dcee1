"""A milter connection at the gateway, codec and session without I/O, beside a model of what was said on it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

from gateway import replies
from gateway.bounds import HeldBytes
from gateway.early import Stage, offer
from gateway.session import (
    RECIPIENT_BYTES,
    AskEarly,
    AskVerdict,
    Close,
    Negotiate,
    Question,
    RefuseMessage,
    Respond,
    Session,
    SessionRules,
)
from gateway.snapshot import SavedConnection, connection_of, head, record, records
from gateway.transaction import Identity
from tamis.filter.v1 import verdict_pb2 as pb
from wire.milter import NEED_DATA, FilterConnection, Limits, RemoteProtocolError, strip_brackets
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.states import INTERRUPTS
from wire.milter.writers import COMMAND_WRITERS
from wire.trace import TraceContext

MESSAGE_BYTES_MAX = 900
LIMITS = Limits(line_bytes_max=500, recipients_max=8, headers_max=20)


@dataclass
class Said:
    """What was heard of one message."""

    sender: bytes
    user: bytes
    helo: bytes
    recipients: list[bytes] = field(default_factory=list)
    fields: list[bytes] = field(default_factory=list)
    content_began: bool = False
    body: bytes = b""


class Connection:
    """One milter connection at the gateway, and the model of what was said on it."""

    def __init__(self, held: HeldBytes, stages: frozenset[Stage], numbers: Iterator[int]) -> None:
        self.held = held
        self.rules = SessionRules(MESSAGE_BYTES_MAX, stages)
        self.numbers = numbers
        self.codec = FilterConnection(LIMITS, offer(stages))
        self.session = Session(self.rules, held, self.identify)
        self.asked: Question | None = None
        self.over = False
        self.said: Said | None = None
        self.helo = b""
        self.announced_user: bytes | None = None
        """What the macros right before this command say about MAIL."""

    def identify(self) -> Identity:
        number = next(self.numbers)
        return Identity(number.to_bytes(16), TraceContext(number, number, sampled=False), 0, 0.0)

    # --- the shell's part --------------------------------------------------------------------------------------------

    def hear(self, data: bytes) -> None:
        self.codec.receive_data(data)
        try:
            self._hear_all()
        except RemoteProtocolError:
            self.end()

    def end(self) -> None:
        self.session.finish()
        self.said = self.asked = None
        self.over = True

    def answer(self, early: ev.Reply, verdict: pb.Verdict) -> None:
        """The cluster answers the open question."""
        asked, self.asked = self.asked, None
        if isinstance(asked, AskEarly):
            self.send(early)
            if asked.stage is Stage.RCPT and not isinstance(early, ev.Continue):
                asked.transaction.refused.add(asked.recipient)
        else:
            negotiated = self.codec.negotiated
            assert negotiated is not None
            try:
                answers = replies.for_verdict(verdict, negotiated)
            except replies.InvalidVerdict:
                answers = [ev.Tempfail()]
            for answer in answers:
                self.send(answer)
            self.finish()
        self.hear(b"")

    def move(self) -> None:
        """To another process, by bytes."""
        before = SavedConnection(self.codec.snapshot(), self.session.snapshot(self.asked))
        ((cookie, encoded),) = records(BytesIO(head() + record(7, before)))
        assert cookie == 7
        saved = connection_of(encoded)
        successor = Session(self.rules, self.held, self.identify)
        asked = successor.resume(saved.session, None)
        codec = FilterConnection.restore(saved.codec, LIMITS, offer(self.rules.stages))
        assert (asked is None) == (self.asked is None)
        assert SavedConnection(codec.snapshot(), successor.snapshot(asked)) == before
        assert type(asked) is type(self.asked)
        self.session.finish()
        self.session, self.codec, self.asked = successor, codec, asked

    def send(self, reply: ev.Reply) -> None:
        assert self.codec.send(reply)

    def finish(self) -> None:
        self.session.finish()
        self.said = None

    def _hear_all(self) -> None:
        while not self.over:
            fields = self.codec.take_fields() if self.asked is None else []
            if fields:
                self._note_fields(fields)
                self.session.take_fields(fields)
            event = self.codec.next_event()
            if event is NEED_DATA:
                return
            if self.asked is not None:
                assert COMMAND_WRITERS[type(event)][0] in INTERRUPTS
                self.asked = None
            self._note(event)
            self._satisfy(self.session.receive(event))
            if self.asked is not None:
                continue

    def _satisfy(self, want: object) -> None:
        if want is None:
            if self.codec.awaiting_reply:
                self.send(ev.Continue())
        elif isinstance(want, Negotiate):
            negotiated = self.codec.negotiate(want.offered)
            self.session.leading_space = bool(negotiated.steps & c.SMFIP_HDR_LEADSPC)
            self.send(negotiated)
        elif isinstance(want, AskEarly | AskVerdict):
            assert self.codec.awaiting_reply
            self.asked = want
        elif isinstance(want, Respond):
            assert self.said is not None
            self.said.recipients.pop()  # one too many
            self.send(want.reply)
        elif isinstance(want, RefuseMessage):
            self.finish()
            self.send(want.reply)
        else:
            assert isinstance(want, Close)
            self.end()

    # --- the model ---------------------------------------------------------------------------------------------------

    def _note(self, event: object) -> None:
        user, self.announced_user = self.announced_user, None
        if isinstance(event, ev.Macros):
            if event.command == c.SMFIC_MAIL:
                self.announced_user = event.values[0][1]
        elif isinstance(event, ev.Mail):
            self.said = Said(strip_brackets(event.address), user or b"", self.helo)
        elif isinstance(event, ev.Connect | ev.QuitNewConnection | ev.Helo | ev.Abort | ev.Quit):
            self.said = None
            if not isinstance(event, ev.Abort):
                self.helo = event.name if isinstance(event, ev.Helo) else b""
        elif self.said is not None:
            self._note_content(self.said, event)

    def _note_content(self, said: Said, event: object) -> None:
        if isinstance(event, ev.Recipient):
            said.recipients.append(strip_brackets(event.address))
        elif isinstance(event, ev.Header):
            self._note_fields([(event.name, event.value)])
        elif isinstance(event, ev.EndOfHeaders):
            said.content_began = True
        elif isinstance(event, ev.Body | ev.EndOfBody):
            said.body += event.chunk

    def _note_fields(self, fields: list[tuple[bytes, bytes]]) -> None:
        assert self.said is not None
        colon = b":" if self.session.leading_space else b": "
        self.said.fields += [name + colon + value + b"\r\n" for name, value in fields]

    def check(self) -> int:
        """The session keeps what the model says. How many bytes that is."""
        transaction, said = self.session.transaction, self.said
        assert (transaction is None) == (said is None)
        if transaction is None or said is None:
            assert not self.session._fields
            return 0
        addresses = [recipient.address for recipient in transaction.recipients]
        assert (transaction.sender, transaction.auth_user) == (said.sender, said.user)
        assert transaction.client.helo == said.helo
        assert addresses == said.recipients[: len(addresses)]
        assert transaction.body_bytes == len(said.body)
        assert transaction.header_bytes == sum(map(len, said.fields))
        fields, body = b"".join(said.fields), said.body
        envelope_bytes = sum(RECIPIENT_BYTES + len(address) for address in addresses)
        assert transaction.envelope_bytes == envelope_bytes
        if transaction.keeps_content:
            assert addresses == said.recipients
            kept = transaction.header_block if said.content_began else bytes(self.session._fields)
            assert (kept, b"".join(transaction.body.in_memory())) == (fields, body)
            assert transaction.message_bytes <= MESSAGE_BYTES_MAX
        else:
            assert not self.session._fields
            assert transaction.header_block is None
            assert transaction.body.in_memory() == []
            fields = body = b""
        assert transaction.held_bytes == envelope_bytes + len(fields) + len(body)
        return transaction.held_bytes
