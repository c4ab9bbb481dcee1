"""Two MTAs say anything in any order to codec and session, which share one bound on what they keep.

Strategy: every text that an MTA says is unique, and a model notes what was heard since MAIL; what the session keeps
must be exactly that. The shell's part (answering, listening while asking, another process) is played without I/O.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import replies, session
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
from wire.milter import NEED_DATA, FilterConnection, Limits, RemoteProtocolError, State, strip_brackets
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import encode_frame
from wire.milter.states import INTERRUPTS, transitions
from wire.milter.writers import COMMAND_WRITERS
from wire.trace import TraceContext

HELD_BYTES_MAX = 2000
MESSAGE_BYTES_MAX = 900
LIMITS = Limits(line_bytes_max=500, recipients_max=8, headers_max=20)
COMMANDS = sorted(c.COMMAND_NAMES)
VERDICTS = (
    pb.Verdict(action=pb.ACTION_ACCEPT),
    pb.Verdict(action=pb.ACTION_DISCARD),
    pb.Verdict(action=pb.ACTION_REJECT, reply=pb.Reply(code=550, enhanced="5.7.1", text="no")),
    pb.Verdict(action=pb.ACTION_TEMPFAIL, reply=pb.Reply(code=451, enhanced="4.7.1", text="later")),
    pb.Verdict(
        action=pb.ACTION_ADD_HEADER,
        edits=[
            pb.Edit(add_header=pb.AddHeader(name=b"X-Spam", value=b"yes")),
            pb.Edit(replace_body=b"new"),
            pb.Edit(delete_recipient=b"x@x.example"),
        ],
    ),
    pb.Verdict(action=pb.ACTION_QUARANTINE, quarantine_reason="odd"),
)
EARLY = (ev.Continue(), ev.ReplyCode(b"550 5.7.1 no"), ev.ReplyCode(b"451 4.7.1 later"))


NEXT = {
    State.IDLE: (c.SMFIC_MACRO, c.SMFIC_MAIL),
    State.MAIL: (c.SMFIC_RCPT,),
    State.RCPT: (c.SMFIC_RCPT, c.SMFIC_RCPT, c.SMFIC_HEADER, c.SMFIC_EOH),
    State.HEADERS: (c.SMFIC_HEADER, c.SMFIC_HEADER, c.SMFIC_HEADER, c.SMFIC_EOH),
    State.BODY: (c.SMFIC_BODY, c.SMFIC_BODY, c.SMFIC_BODYEOB),
}
"""What brings a message on."""


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


Offer = tuple[int, int, int]
OFFERS: st.SearchStrategy[Offer] = st.tuples(
    st.sampled_from([2, 3, 4, 6, 6, 6, 8]),
    st.sampled_from([0, 0x3F, c.ALL_ACTIONS]),
    st.sampled_from([0, 0x7F, c.OFFERED_STEPS, c.OFFERED_STEPS]),
)
"""Version, actions and steps."""


def negotiation(offer: Offer) -> bytes:
    return encode_frame(c.SMFIC_OPTNEG, b"".join(number.to_bytes(4) for number in offer))


class Mtas(RuleBasedStateMachine):
    @initialize(stages=st.frozensets(st.sampled_from(list(Stage))), offer=OFFERS)
    def start(self, stages: frozenset[Stage], offer: Offer) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(session, "RECIPIENTS_MAX", 6)
        self.patch.setattr(session, "HEADERS_MAX", 12)
        self.patch.setattr(session, "HEADER_BYTES_MAX", 500)
        self.held = HeldBytes(HELD_BYTES_MAX)
        self.stages = stages
        self.numbers = count(1)
        self.offer = offer
        self.connections = [self.connect(), self.connect()]
        self.cut = [b"", b""]
        """Of each, what was said and has not come yet."""

    def connect(self, *, fresh: bool = False) -> Connection:
        connection = Connection(self.held, self.stages, self.numbers)
        if not fresh:
            connection.hear(negotiation(self.offer))
            connection.hear(self.frame(c.SMFIC_CONNECT, 0))
        return connection

    def frame(self, command: int, size_bytes: int) -> bytes:
        event = self.event(command, size_bytes)
        code, write = COMMAND_WRITERS[type(event)]
        return encode_frame(code, write(event))

    def event(self, command: int, size_bytes: int) -> ev.Event:
        """A command whose text nobody said before."""
        text = b"t%d-" % next(self.numbers)
        long = text * (size_bytes // len(text) + 1)
        user = ev.Macros(c.SMFIC_MAIL, ((b"{auth_authen}", text), (b"i", text)))
        made: dict[int, ev.Event] = {
            c.SMFIC_MACRO: user if size_bytes % 3 else ev.Macros(c.SMFIC_RCPT, ((b"i", text),)),
            c.SMFIC_CONNECT: ev.Connect(text, c.SMFIA_INET, 25, b"192.0.2.7"),
            c.SMFIC_HELO: ev.Helo(text),
            c.SMFIC_MAIL: ev.Mail(b"<" + text + b">"),
            c.SMFIC_RCPT: ev.Recipient(b"<" + text + b">"),
            c.SMFIC_DATA: ev.Data(),
            c.SMFIC_UNKNOWN: ev.Unknown(text),
            c.SMFIC_HEADER: ev.Header(b"X-" + text.rstrip(b"-"), b" " + long),
            c.SMFIC_EOH: ev.EndOfHeaders(),
            c.SMFIC_BODY: ev.Body(long),
            c.SMFIC_BODYEOB: ev.EndOfBody(long if size_bytes % 2 else b""),
            c.SMFIC_ABORT: ev.Abort(),
            c.SMFIC_QUIT: ev.Quit(),
            c.SMFIC_QUIT_NC: ev.QuitNewConnection(),
            c.SMFIC_OPTNEG: ev.Negotiate(*self.offer),
        }
        return made[command]

    def write(self, number: int, data: bytes, later_bytes: int = 0) -> None:
        """Say bytes; the last of them come with the next ones."""
        data = self.cut[number] + data
        now = max(len(data) - later_bytes, 0)
        self.cut[number] = data[now:]
        self.connections[number].hear(data[:now])
        if self.connections[number].over:
            self.connections[number], self.cut[number] = self.connect(), b""

    WHO = st.integers(0, 1)
    SIZE = st.integers(0, 300)
    CHUNKS = st.lists(SIZE, max_size=5)
    COUNT = st.integers(1, 30)
    LUCK = st.integers(0, 9)
    LATER = st.sampled_from([0, 0, 0, 1, 4, 5, 7, 30])

    @rule(who=WHO, offer=OFFERS)
    def begin_anew(self, who: int, offer: Offer) -> None:
        if self.connections[who].codec.state is State.START:
            self.write(who, negotiation(offer))
        elif self.connections[who].codec.state is State.READY:
            self.say(who, c.SMFIC_CONNECT, 0, 0)

    @rule(who=WHO, choice=st.integers(0, 100), size_bytes=SIZE, later_bytes=LATER)
    def say_what_is_legal(self, who: int, choice: int, size_bytes: int, later_bytes: int) -> None:
        codec = self.connections[who].codec
        if self.cut[who] or codec.awaiting_reply or codec.negotiated is None:
            return
        unwanted = {c.SMFIC_QUIT, c.SMFIC_QUIT_NC, c.SMFIC_OPTNEG, c.SMFIC_HELO, c.SMFIC_ABORT}
        unwanted |= {code for code, since in c.COMMAND_SINCE.items() if since > codec.negotiated.version}
        legal = sorted(set(transitions(0)[codec.state]) - unwanted)
        self.say(who, legal[choice % len(legal)], size_bytes, later_bytes)

    @rule(who=WHO, size_bytes=SIZE)
    def say_what_goes_on(self, who: int, size_bytes: int) -> None:
        """Towards the end of a message."""
        connection = self.connections[who]
        way = NEXT.get(connection.codec.state)
        if way and connection.asked is None and not self.cut[who]:
            self.say(who, way[size_bytes % len(way)], size_bytes, 0)

    @rule(who=WHO, command=st.sampled_from(COMMANDS), size_bytes=SIZE, later_bytes=LATER, luck=LUCK)
    def say_anything(self, who: int, command: int, size_bytes: int, later_bytes: int, luck: int) -> None:
        if luck == 0:
            self.say(who, command, size_bytes, later_bytes)

    @rule(who=WHO, command=st.sampled_from(sorted(INTERRUPTS)), later_bytes=LATER, luck=LUCK)
    def say_goodbye(self, who: int, command: int, later_bytes: int, luck: int) -> None:
        if luck <= 2 or self.connections[who].asked is not None:
            self.say(who, command, 0, later_bytes)

    def say(self, who: int, command: int, size_bytes: int, later_bytes: int) -> None:
        self.write(who, self.frame(command, size_bytes), later_bytes)

    @rule(who=WHO, recipients=st.integers(0, 8), fields=st.integers(0, 14), chunks=CHUNKS, commands_max=COUNT)
    def say_a_message(self, who: int, recipients: int, fields: int, chunks: list[int], commands_max: int) -> None:
        """Or the beginning of one; answers are given at once."""
        codec = self.connections[who].codec
        if codec.state is not State.IDLE or codec.awaiting_reply or self.cut[who]:
            return
        commands = [(c.SMFIC_MAIL, 0), *[(c.SMFIC_RCPT, 0)] * recipients, *[(c.SMFIC_HEADER, 20)] * fields]
        commands += [(c.SMFIC_EOH, 0), *[(c.SMFIC_BODY, size) for size in chunks], (c.SMFIC_BODYEOB, 0)]
        for command, size_bytes in commands[:commands_max]:
            connection = self.connections[who]
            if connection.asked is not None:
                connection.answer(EARLY[0], VERDICTS[0])
            self.say(who, command, size_bytes, 0)

    @rule(who=WHO)
    def the_rest_comes(self, who: int) -> None:
        self.write(who, b"")

    @rule(who=WHO, luck=LUCK)
    def hang_up(self, who: int, luck: int) -> None:
        if luck <= 1:
            self.connections[who].end()
            self.connections[who], self.cut[who] = self.connect(fresh=luck == 0), b""

    @precondition(lambda self: any(connection.asked for connection in self.connections))
    @rule(who=WHO, early=st.sampled_from(EARLY), verdict=st.sampled_from(VERDICTS))
    def the_cluster_answers(self, who: int, early: ev.Reply, verdict: pb.Verdict) -> None:
        connection = self.connections[who]
        if connection.asked is not None:
            connection.answer(early, verdict)
            self.write(who, b"", len(self.cut[who]))

    @rule(who=WHO)
    def the_process_changes(self, who: int) -> None:
        self.connections[who].move()

    @rule(size_bytes=st.integers(1, 2000))
    def others_take_what_is_left(self, size_bytes: int) -> None:
        """For a while: until this connection's next message."""
        if self.held.take(size_bytes):
            self.say(0, c.SMFIC_RCPT, 0, 0)
            self.held.release(size_bytes)

    @invariant()
    def what_is_held_is_what_is_counted(self) -> None:
        if hasattr(self, "held"):
            assert self.held.total == sum(connection.check() for connection in self.connections)
            assert self.held.total <= HELD_BYTES_MAX

    def teardown(self) -> None:
        if hasattr(self, "held"):
            for connection in self.connections:
                connection.end()
            assert self.held.total == 0
            self.patch.undo()


TestMtas = Mtas.TestCase
TestMtas.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
