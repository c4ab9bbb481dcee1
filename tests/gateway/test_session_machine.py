"""Two MTAs say anything in any order to codec and session, which share one bound on what they keep.

Strategy: every text that an MTA says is unique, and a model notes what was heard since MAIL; what the session keeps
must be exactly that. The shell's part (answering, listening while asking, another process) is played without I/O.
"""

from itertools import count

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import session
from gateway.bounds import HeldBytes
from gateway.early import Stage
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.modelled import Connection
from wire.milter import State
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.frames import encode_frame
from wire.milter.states import INTERRUPTS, transitions
from wire.milter.writers import COMMAND_WRITERS

HELD_BYTES_MAX = 2000
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
