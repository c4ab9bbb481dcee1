"""One transaction's question to whichever ingress has it, and the stream that carries it there.

Strategy: the conversation holds the pending ask as one future with one timer; whoever places, refuses or answers it
resolves that future or arms the timer anew. An ask ends in an answer, in silence (None) or in `Unavailable`, never in
an exception. A stream that is behind holds conversations back; one that moves no more is broken, and what it had is
told elsewhere.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.balance import Endpoint
from gateway.dial import Pipe, StreamLost
from gateway.early import NUMBERS, Stage
from gateway.exchange import Exchange
from gateway.transaction import Failure
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2
from wire.stream import CROWD_OF_EVENTS, OUTBOX_BYTES_MAX, OUTBOX_ITEMS_MAX, AdaptiveWriter, Outbox

WRITE_S = 8.0
"""A stream that does not take a frame for this long is stuck: twice as long as a ping may stay without an answer."""
BULK_FROM_BYTES = 128 * 1024
"""What a transaction has to tell beyond this lets others pass: small mail does not wait for large mail."""
BEHIND_EVENTS = OUTBOX_ITEMS_MAX // 2
BEHIND_BYTES = OUTBOX_BYTES_MAX // 2
"""When so much waits to be written, transactions wait; what one of them may add then still fits into the outbox."""

EarlyVerdict = verdict_pb2.StageVerdict | verdict_pb2.RecipientVerdict
Answer = EarlyVerdict | verdict_pb2.Verdict
NO_OBJECTION: Mapping[Stage, EarlyVerdict] = {
    stage: verdict_pb2.RecipientVerdict(action=verdict_pb2.ACTION_ACCEPT)
    if stage is Stage.RCPT
    else verdict_pb2.StageVerdict(stage=number, action=verdict_pb2.ACTION_ACCEPT)
    for stage, number in NUMBERS.items()
}
"""Without a question, where the cell has nothing to object."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Budgets:
    """How long the gateway waits, in seconds."""

    ingress_s: float
    """For any ingress."""
    early_s: Mapping[Stage, float]
    """For an early verdict at each stage."""
    verdict_s: float
    """From end of message."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """There is no answer, and why."""

    failure: Failure


class Stream:
    """One live stream to one ingress and the conversations on it."""

    def __init__(self, endpoint: Endpoint, pipe: Pipe) -> None:
        self.endpoint = endpoint
        self.target = endpoint.place.target
        self.pipe = pipe
        self.conversations: dict[int, Conversation] = {}
        self.answered = False
        """It works: an answer came."""
        self.draining = False
        """The ingress wants nothing new."""
        self.over = asyncio.Event()
        """It is no longer of use: broken, or draining and has nothing of ours any more."""
        self.early_stages: frozenset[int] | None = None
        """At which stages, by their numbers in the contract, this cell may object; None = it has not said."""
        self.broken = False
        """It did not take what one of its transactions had to tell; nothing more is told there."""
        self.outbox: Outbox[filter_pb.Event] = Outbox()
        self.writer: AdaptiveWriter[filter_pb.Event] = AdaptiveWriter(self._write, self.outbox, CROWD_OF_EVENTS)
        self._held_back: dict[int, Conversation] = {}

    def may_object(self, stage: Stage) -> bool:
        """Whether a question at this stage can have another answer than to go on."""
        return self.early_stages is None or NUMBERS[stage] in self.early_stages

    def holds_back(self, conversation: "Conversation") -> bool:
        """Whether the stream is behind; the conversation's `advance` is called when it no longer is."""
        if self._behind:
            self._held_back[conversation.exchange.number] = conversation
            return True
        return False

    def forget(self, conversation: "Conversation") -> None:
        """The conversation is over or elsewhere."""
        self._held_back.pop(conversation.exchange.number, None)
        if self.conversations.pop(conversation.exchange.number, None) is not None:
            self.endpoint.outstanding_bytes -= conversation.exchange.told_bytes
        if self.draining and not self.conversations:
            self.over.set()

    def drain(self) -> None:
        """Take nothing new; it is over when it has nothing of ours any more."""
        self.draining = True
        if not self.conversations:
            self.over.set()

    def tell(self, event: filter_pb.Event, size_bytes: int, *, bulk: bool = False) -> bool:
        """Send an event; False when the stream is stuck: it is broken then, which ends what it was told by half."""
        if not self.broken and not self.writer.send(event, size_bytes, bulk=bulk):
            self.broken = True
            self.over.set()
        return not self.broken

    async def _write(self, events: list[filter_pb.Event]) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                await self.pipe.write(events)
        except TimeoutError:
            raise StreamLost("it takes nothing more") from None
        while self._held_back and not self._behind:
            self._held_back.pop(next(iter(self._held_back))).advance()

    @property
    def _behind(self) -> bool:
        return len(self.outbox) >= BEHIND_EVENTS or self.outbox.waiting_bytes >= BEHIND_BYTES


class Switchboard(Protocol):
    """What a conversation asks of the link."""

    @property
    def budgets(self) -> Budgets:
        """How long to wait."""

    def forget(self, conversation: "Conversation") -> None:
        """It is over."""

    def late(self, stream: Stream) -> None:
        """The verdict did not come in time."""


class Conversation:
    """One transaction's question to the cluster. Made by `Link.open`; ends with a verdict, `abort` or a failure."""

    def __init__(self, link: Switchboard, exchange: Exchange) -> None:
        self.exchange = exchange
        self.stream: Stream | None = None
        self.refused_by: dict[str, Failure] = {}
        """Ingresses that will not be asked again about this transaction."""
        self.losses = 0
        """Streams that broke under it."""
        self.placements = 0
        self._link = link
        self._budgets = link.budgets
        self._loop = asyncio.get_running_loop()
        self._failure: Failure | None = None
        self._judge: Stream | None = None
        self._unplaced_since_s: float | None = None
        """Since when no ingress has answered for it; that one refused is no answer."""
        self._waiter: asyncio.Future[Answer | Unavailable | None] | None = None
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def advance(self) -> None:
        """Tell the ingress what is new in the transaction."""
        stream = self.stream
        if stream is None or stream.holds_back(self):
            return
        told_bytes = before_bytes = self.exchange.told_bytes
        for event, size_bytes in self.exchange.take(self._loop.time()):
            told_bytes += size_bytes
            if not stream.tell(event, size_bytes, bulk=told_bytes > BULK_FROM_BYTES):
                break
        stream.endpoint.outstanding_bytes += self.exchange.told_bytes - before_bytes
        if self.exchange.starved:
            self.exchange.fetch(self._fetched)

    async def early_verdict(self, stage: Stage, recipient: int = 0) -> EarlyVerdict | Unavailable | None:
        """The verdict at a stage, at RCPT on a recipient; None when the ingress stays silent for the stage's budget."""
        if self.stream is not None and not self.stream.may_object(stage):
            return NO_OBJECTION[stage]
        exchange = self.exchange
        deadline_s = self._loop.time() + self._budgets.early_s[stage]
        exchange.asked, exchange.asked_recipient, exchange.early_deadline_s = stage, recipient, deadline_s
        try:
            answer = await self._ask(deadline_s)
        finally:
            exchange.asked = None
        assert not isinstance(answer, verdict_pb2.Verdict)  # noqa: S101  (heard() sorts them)
        return answer

    async def verdict(self) -> verdict_pb2.Verdict | Unavailable:
        """The verdict on the complete message. The conversation is over then."""
        deadline_s = self._loop.time() + self._budgets.verdict_s
        self.exchange.verdict_deadline_s = deadline_s
        answer = await self._ask(deadline_s)
        if isinstance(answer, verdict_pb2.Verdict):
            return answer
        if answer is None and self.stream is not None:
            self._link.late(self.stream)
        self.abort()
        return answer if isinstance(answer, Unavailable) else Unavailable(Failure.TIMEOUT)

    def abort(self) -> None:
        """Nobody wants to know any more: a pending ask ends, the ingress may forget the transaction."""
        self._resolve(None)
        stream = self._leave()
        if stream is not None and self.exchange.begun:
            stream.tell(filter_pb.Event(transaction=self.exchange.number, abort=filter_pb.Abort()), 0)

    def keep(self, reason: str) -> None:
        """After the verdict: have the ingress export its spans although the message was not sampled."""
        if self._judge is not None:
            event = filter_pb.Event(transaction=self.exchange.number, keep=filter_pb.Keep(reason=reason))
            self._judge.writer.send(event, 0)

    def placed(self, stream: Stream) -> None:
        """Another ingress gets the transaction; the next `advance` tells it from the beginning."""
        self.stream = stream
        stream.conversations[self.exchange.number] = self
        self.placements += 1
        self._failure = None
        self.exchange.rewind()
        self._arm()

    def unplaced(self) -> None:
        """No ingress is there: the ingress budget runs, on from where it was when one came and was of no use."""
        self.stream = None
        if self._unplaced_since_s is None:
            self._unplaced_since_s = self._loop.time()
        self._arm()

    def failed(self, failure: Failure) -> None:
        """Nobody will answer; every ask ends at once from now on."""
        self._leave()
        self._failure = failure
        self._resolve(Unavailable(failure))

    def granted(self, body_bytes: int) -> None:
        """The ingress takes more of the body."""
        self._unplaced_since_s = None
        self.exchange.grant(body_bytes)
        self.advance()

    def heard(self, answer: Answer) -> None:
        """An answer came; a late one is dropped."""
        self._unplaced_since_s = None
        exchange = self.exchange
        if isinstance(answer, verdict_pb2.RecipientVerdict):
            if exchange.asked is Stage.RCPT and answer.recipient == exchange.asked_recipient:
                self._resolve(answer)
        elif isinstance(answer, verdict_pb2.StageVerdict):
            if exchange.asked is not None and answer.stage == NUMBERS[exchange.asked]:
                if not exchange.transaction.has_mail:
                    self._leave()
                self._resolve(answer)
        elif exchange.verdict_deadline_s is None:
            log.warning("verdict_before_end_of_message")
            self.failed(Failure.INTERNAL)
        else:
            self._judge = self._leave()
            self._resolve(answer)

    def _fetched(self) -> None:
        """What is on disk came, or cannot be read."""
        if self.exchange.transaction.body.unreadable:
            self.failed(Failure.INTERNAL)
        else:
            self.advance()

    async def _ask(self, deadline_s: float) -> Answer | Unavailable | None:
        self._waiter = self._loop.create_future()
        self._deadline_s = deadline_s
        self.advance()
        if self._failure is not None:
            self._resolve(Unavailable(self._failure))
        self._arm()
        try:
            return await self._waiter
        finally:
            self._waiter = None
            self._disarm()

    def _arm(self) -> None:
        """(Re)start the timer of the pending ask: the budget of the answer, or of finding an ingress."""
        self._disarm()
        if self._waiter is None or self._waiter.done():
            return
        until_s = self._deadline_s
        if self.stream is None and self._unplaced_since_s is not None:
            until_s = min(until_s, self._unplaced_since_s + self._budgets.ingress_s)
        self._timer = self._loop.call_at(until_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        if self.stream is None:
            self._failure = Failure.UNREACHABLE
            self._resolve(Unavailable(Failure.UNREACHABLE))
        else:
            self._resolve(None)

    def _resolve(self, answer: Answer | Unavailable | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def _leave(self) -> Stream | None:
        self._link.forget(self)
        stream, self.stream = self.stream, None
        return stream
