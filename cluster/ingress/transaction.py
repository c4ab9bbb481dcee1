"""One transaction of a Filter stream: the order of its events, its limits, and what may start when.

Pure: events and the time go in, steps come out. A table says which events each state takes; whatever is out of order
or beyond a limit ends the transaction with `Refuse(malformed)` and touches nothing else. The message grows here as
protobuf values, so that each stage is serialised once for all pools.
"""

from dataclasses import dataclass
from enum import Enum
from itertools import islice

import msgspec

from actors.model import Stage
from cluster.codec import stage_to_proto
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2
from wire.stream import INITIAL_BODY_CREDIT_BYTES

CREDIT_WINDOW_BYTES = 256 * 1024
"""Credit is topped up to this much ahead of what has arrived, once the first body bytes have come. What is under way
delays everything else on the stream: with 1 MiB and four large mails small ones took three times as long."""

MACROS_MAX, MACRO_BYTES_MAX = 32, 256
"""Of the MTA's macros; what is beyond is dropped."""

Reason = pb.Refused.Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What one transaction may claim; from [cluster]."""

    recipients_max: int
    header_bytes_max: int
    message_bytes_max: int
    early_s: float
    end_of_message_s: float


class Start(msgspec.Struct, frozen=True):
    """Ask the actors of a stage; `deadline_s` is when the answer must have left (monotonic)."""

    stage: Stage
    message: message_pb2.Message
    """What is known, but for the body."""
    deadline_s: float
    body: bytes = b""
    recipient: int = 0
    """At the recipient stage, the index of the recipient."""
    wants_verdict: bool = False


class Grant(msgspec.Struct, frozen=True):
    """Let the gateway send more of the body."""

    body_bytes: int


class Refuse(msgspec.Struct, frozen=True):
    """End the transaction with this answer."""

    reason: pb.Refused.Reason
    detail: str


class Cancel(msgspec.Struct, frozen=True):
    """End the transaction without an answer."""


Step = Start | Grant | Refuse | Cancel


class State(Enum):
    """What has been seen."""

    NEW = "new"
    BEGUN = "begun"
    MAIL = "mail"
    ENVELOPE = "envelope"
    CONTENT = "content"
    """Headers and perhaps some of the body."""
    SCORING = "scoring"
    """The answer that ends it is due."""
    ENDED = "ended"


# RFC 5321 section 3.3: one MAIL, then the recipients, then the data.
_TAKES: dict[State, frozenset[str]] = {
    State.NEW: frozenset({"begin"}),
    State.BEGUN: frozenset({"mail", "ask", "abort"}),
    State.MAIL: frozenset({"ask", "recipient", "headers", "abort"}),
    State.ENVELOPE: frozenset({"recipient", "headers", "abort"}),
    State.CONTENT: frozenset({"body", "end_of_message", "abort"}),
    State.SCORING: frozenset({"abort"}),
    State.ENDED: frozenset(),
}

_ASKED_IN = {
    stage_to_proto(stage): (stage, state)
    for stage, state in ((Stage.CONNECT, State.BEGUN), (Stage.HELO, State.BEGUN), (Stage.MAIL, State.MAIL))
}
"""Number of a stage -> the stage and the state in which it may be asked about."""


class Transaction:
    """The state of one transaction. Call `receive` with each of its events in turn."""

    __slots__ = (
        "_body",
        "_credit_bytes",
        "_deadline_s",
        "_granted",
        "_limits",
        "body_bytes",
        "envelope",
        "header_block",
        "refused_recipients",
        "state",
        "traceparent",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._body: list[bytes] = []
        self._credit_bytes = INITIAL_BODY_CREDIT_BYTES
        self._granted = False
        self._deadline_s = 0.0
        self.state = State.NEW
        self.envelope = message_pb2.Envelope()
        self.header_block = b""
        self.body_bytes = 0
        self.traceparent = ""
        self.refused_recipients: frozenset[int] = frozenset()

    @property
    def held_bytes(self) -> int:
        """Mail that is here or has been promised room by a grant."""
        promised = self._credit_bytes if self._granted else 0
        return self.body_bytes + len(self.header_block) + promised

    def end(self) -> None:
        """Take no more events."""
        self.state = State.ENDED
        self._body.clear()

    def receive(self, event: pb.Event, now_s: float) -> tuple[Step, ...]:  # noqa: PLR0911  one line an event
        """Take one event. An event of a kind of a later release is ignored."""
        kind = event.WhichOneof("kind")
        if kind is None:
            return ()
        if kind not in _TAKES[self.state]:
            return self._malformed(f"{kind} while {self.state.value}")
        match kind:
            case "begin":
                return self._begin(event.begin, now_s)
            case "mail":
                return self._mail(event.mail)
            case "ask":
                return self._ask(event.ask, now_s)
            case "recipient":
                return self._recipient(event.recipient, now_s)
            case "headers":
                return self._headers(event.headers)
            case "body":
                return self._more_body(event.body)
            case "end_of_message":
                return self._end_of_message(event.end_of_message, now_s)
        self.end()
        return (Cancel(),)

    def _begin(self, begin: pb.Begin, now_s: float) -> tuple[Step, ...]:
        self.state = State.BEGUN
        self._deadline_s = now_s + begin.budget_ms / 1000
        self.traceparent = begin.traceparent
        envelope = self.envelope
        envelope.transaction_id = begin.transaction_id
        envelope.client.CopyFrom(begin.client)
        envelope.direction = begin.direction
        envelope.tenant = begin.tenant
        envelope.daemon_name = begin.daemon_name
        envelope.mta_name = begin.mta_name
        envelope.received_at_ms = begin.received_at_ms
        envelope.mirrored = begin.mirrored
        envelope.explained = begin.explain
        return ()

    def _mail(self, mail: pb.Mail) -> tuple[Step, ...]:
        self.state = State.MAIL
        self.envelope.sender = mail.sender
        self.envelope.esmtp_args.extend(mail.esmtp_args)
        return (Start(Stage.ENVELOPE, self._snapshot(), self._deadline_s),)

    def _ask(self, ask: pb.Ask, now_s: float) -> tuple[Step, ...]:
        stage, state = _ASKED_IN.get(ask.stage, (None, None))
        if stage is None:
            return ()  # of a later release
        if state is not self.state:
            return self._malformed(f"ask about {stage.value} while {self.state.value}")
        self.state = State.ENVELOPE if stage is Stage.MAIL else State.SCORING
        deadline_s = now_s + min(self._limits.early_s, ask.budget_ms / 1000)
        return (Start(stage, self._snapshot(), deadline_s, wants_verdict=True),)

    def _recipient(self, new: pb.NewRecipient, now_s: float) -> tuple[Step, ...]:
        self.state = State.ENVELOPE
        index = len(self.envelope.recipients)
        if index >= self._limits.recipients_max:
            return self._malformed(f"more than {self._limits.recipients_max} recipients")
        # Only this recipient goes to the actors, so that a thousand of them cost a thousand, not a million.
        snapshot = message_pb2.Message()
        own = snapshot.envelope
        known = self.envelope
        own.transaction_id = known.transaction_id
        own.client.CopyFrom(known.client)
        own.direction = known.direction
        own.tenant = known.tenant
        own.sender = known.sender
        own.esmtp_args.extend(known.esmtp_args)
        own.daemon_name = known.daemon_name
        own.mta_name = known.mta_name
        own.received_at_ms = known.received_at_ms
        own.mirrored = known.mirrored
        own.explained = known.explained
        own.recipients.append(new.recipient)
        known.recipients.append(new.recipient)
        cap_s = self._limits.early_s
        waits = new.budget_ms > 0
        deadline_s = now_s + (min(cap_s, new.budget_ms / 1000) if waits else cap_s)
        return (Start(Stage.RECIPIENT, snapshot, deadline_s, b"", index, waits),)

    def _headers(self, headers: pb.Headers) -> tuple[Step, ...]:
        if len(headers.header_block) > self._limits.header_bytes_max:
            return self._malformed(f"header section above {self._limits.header_bytes_max} bytes")
        self.state = State.CONTENT
        self.header_block = headers.header_block
        self._note_queue_id(headers.queue_id)
        return (Start(Stage.HEADERS, self._snapshot(), self._deadline_s),)

    def _more_body(self, chunk: bytes) -> tuple[Step, ...]:
        self._credit_bytes -= len(chunk)
        if self._credit_bytes < 0:
            return self._malformed("body beyond credit")
        self.body_bytes += len(chunk)
        if self.body_bytes > self._limits.message_bytes_max:
            return self._malformed(f"body above {self._limits.message_bytes_max} bytes")
        self._body.append(chunk)
        if self._credit_bytes >= INITIAL_BODY_CREDIT_BYTES // 2:
            return ()
        grant = CREDIT_WINDOW_BYTES - self._credit_bytes
        self._credit_bytes += grant
        self._granted = True
        return (Grant(grant),)

    def _end_of_message(self, end: pb.EndOfMessage, now_s: float) -> tuple[Step, ...]:
        known = len(self.envelope.recipients)
        if any(index >= known for index in end.refused_recipients):
            return self._malformed("a refused recipient that was never named")
        self.state = State.SCORING
        self._granted = False
        self._note_queue_id(end.queue_id)
        self.refused_recipients = frozenset(end.refused_recipients)
        if self.refused_recipients:
            kept = [r for index, r in enumerate(self.envelope.recipients) if index not in self.refused_recipients]
            del self.envelope.recipients[:]
            self.envelope.recipients.extend(kept)
        for name, value in islice(end.macros.items(), MACROS_MAX):
            if len(name) <= MACRO_BYTES_MAX and len(value.encode()) <= MACRO_BYTES_MAX:
                self.envelope.macros[name] = value
        body = b"".join(self._body)
        self._body.clear()
        budget_s = min(end.budget_ms / 1000, self._limits.end_of_message_s)
        return (Start(Stage.MESSAGE, self._snapshot(), now_s + budget_s, body),)

    def _snapshot(self) -> message_pb2.Message:
        return message_pb2.Message(envelope=self.envelope, header_block=self.header_block)

    def _note_queue_id(self, queue_id: str) -> None:
        if queue_id:
            self.envelope.queue_id = queue_id

    def _malformed(self, detail: str) -> tuple[Step, ...]:
        self.end()
        return (Refuse(Reason.REASON_MALFORMED, detail),)
