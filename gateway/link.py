"""All ingresses: one long-lived stream each, many transactions in it, replay when one breaks.

Strategy: a line per endpoint dials, serves and dials again. The link places each conversation on the stream that the
balance chooses. A broken stream or a refusal places it again, in another cell if need be, and the exchange tells
everything from Begin. Without any stream a conversation waits for one until the ingress budget is over. Endpoints come
and go with the DNS and with a reload; a stream that is no longer wanted finishes what it has.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gateway.balance import Balance, Endpoint, Place
from gateway.cells import CellConfig
from gateway.conversation import Budgets, Conversation, Stream
from gateway.dial import Pipe, StreamLost
from gateway.discovery import Discovery, Lookup
from gateway.exchange import Exchange
from gateway.metrics import Metrics
from gateway.transaction import Failure, Transaction
from tamis.filter.v1 import filter_service_pb2 as filter_pb

REPLAYS_MAX = 4
"""A transaction that was on more broken streams than this may be what breaks them; it is not told again."""
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0
"""Below the ingress budget, so that an ingress that has come back is found within it."""

Dial = Callable[[str], AbstractAsyncContextManager[Pipe]]

_FAILURE_OF_REFUSAL = {
    filter_pb.Refused.REASON_OVERLOADED: Failure.OVERLOADED,
    filter_pb.Refused.REASON_MALFORMED: Failure.PROTOCOL,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What a reload may change."""

    cells: Sequence[CellConfig]
    budgets: Budgets
    dial: Dial
    lookup: Lookup
    """Asked only for `srv:` names."""


@dataclass(slots=True, eq=False)
class _Line:
    """The way to one endpoint, dialled again and again until it is retired."""

    endpoint: Endpoint
    dial: Dial
    replaces: "_Line | None" = None
    """The line to the same endpoint from before a reload: it retires when this one is connected."""
    task: asyncio.Task[None] | None = None
    stream: Stream | None = None
    was_connected: bool = False
    retired: bool = False

    def retire(self) -> None:
        """Dial no more; what is on its stream finishes there."""
        self.retired = True
        if self.stream is not None:
            self.stream.drain()
        elif self.task is not None:
            self.task.cancel()


class Link:
    """The gateway's streams. `start`, `reload` and `close` belong to the process, `open` to each transaction."""

    def __init__(self, settings: LinkSettings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._balance = Balance()
        self._lines: dict[str, _Line] = {}
        self._streams: dict[str, Stream] = {}
        self._unplaced: dict[int, Conversation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self._next_number = 0
        self._closing = False
        self.stressed = False
        """New transactions say that this gateway has more sessions than it likes."""
        self._adopt(settings)

    @property
    def budgets(self) -> Budgets:
        """How long the conversations wait."""
        return self._settings.budgets

    @property
    def ready(self) -> bool:
        """Whether a transaction could be placed now."""
        return bool(self._usable())

    def start(self) -> None:
        """Connect to every ingress, in the background, for ever."""
        self._know(self._discovery.places)
        self._following = self._spawn(self._discovery.run())

    def reload(self, settings: LinkSettings) -> None:
        """Go on with other settings: all ingresses are dialled anew, and the streams so far finish what they have."""
        if self._following is not None:
            self._following.cancel()
        self._adopt(settings, self._discovery)
        kept = dict(self._lines)
        self.start()
        for target, line in kept.items():
            if self._lines.get(target) is line:
                self._replace(line)

    async def close(self) -> None:
        """Leave all ingresses."""
        # Python 3.11's TaskGroup swallows a cancellation that meets the failure of one of its tasks.
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def open(self, transaction: Transaction) -> Conversation:
        """A conversation about a new transaction; nothing is told before its first `advance` or ask."""
        self._next_number += 1
        conversation = Conversation(self, Exchange(self._next_number, transaction, stressed=self.stressed))
        self._place(conversation)
        return conversation

    def forget(self, conversation: Conversation) -> None:
        """The conversation is over."""
        self._unplaced.pop(conversation.exchange.number, None)
        if conversation.stream is not None:
            conversation.stream.forget(conversation)

    def late(self, stream: Stream) -> None:
        """An ingress did not give its verdict in time."""
        self._note_failure(stream)

    # --- endpoints ---------------------------------------------------------------------------------------------------

    def _adopt(self, settings: LinkSettings, before: Discovery | None = None) -> None:
        self._settings = settings
        answers = before.answers if before is not None else None
        self._discovery = Discovery(settings.cells, settings.lookup, self._know, answers)

    def _know(self, places: list[Place]) -> None:
        """Dial what is new, leave what is gone."""
        wanted = {place.target: place for place in places}
        for target in [target for target in self._lines if target not in wanted]:
            line = self._lines.pop(target)
            for gone in (line, line.replaces):
                if gone is not None:
                    gone.retire()
        for target, place in wanted.items():
            if target in self._lines:
                self._lines[target].endpoint.place = place
            else:
                self._begin(_Line(Endpoint(place), self._settings.dial))

    def _replace(self, line: _Line) -> None:
        """Dial the same endpoint with the settings of now."""
        replaced: _Line | None = line
        if line.stream is None:
            line.retire()
            replaced = line.replaces
        self._begin(_Line(line.endpoint, self._settings.dial, replaced))

    def _begin(self, line: _Line) -> None:
        self._lines[line.endpoint.place.target] = line
        line.task = self._spawn(self._keep_connected(line))

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep_connected(self, line: _Line) -> None:
        """Dial, serve, dial again; the back-off grows until an ingress has answered something."""
        attempts = 0
        told = ""
        while not (self._closing or line.retired):
            stream = None
            try:
                async with line.dial(line.endpoint.place.target) as pipe:
                    stream = line.stream = Stream(line.endpoint, pipe)
                    await self._serve(line, stream)
            except* StreamLost as lost:
                why = str(lost.exceptions[0])
                if stream is not None or why != told:
                    # While nobody is there, every reason is told once.
                    log.warning("ingress_lost", extra={"fields": {"ingress": line.endpoint.place.target, "why": why}})
                told = why
            except* Exception:
                # A bug in handling one answer must not end the way to this ingress for ever.
                log.exception("ingress_failed", extra={"fields": {"ingress": line.endpoint.place.target}})
            _forget_own_cancellation()
            line.stream = None
            attempts = 0 if stream is not None and stream.answered else attempts + 1
            if not (self._closing or line.retired):
                await asyncio.sleep(backoff_s(attempts, random.random()))

    async def _serve(self, line: _Line, stream: Stream) -> None:
        """Use a stream until it breaks (always by an exception), then place what it had elsewhere."""
        log.info("ingress_connected", extra={"fields": {"ingress": stream.target, "cell": line.endpoint.place.cell}})
        self._streams[stream.target] = stream
        self._metrics.ingresses.set(len(self._streams))
        if line.was_connected:
            stream.endpoint.came_back(asyncio.get_running_loop().time())
        line.was_connected = True
        if line.replaces is not None:
            line.replaces.retire()
            line.replaces = None
        for conversation in list(self._unplaced.values()):
            self._place_again(conversation)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stream.writer.run())
                tasks.create_task(self._listen(stream))
                tasks.create_task(self._leave_when_over(stream))
        finally:
            if self._streams.get(stream.target) is stream:
                del self._streams[stream.target]
            self._metrics.ingresses.set(len(self._streams))
            if not stream.draining:
                self._note_failure(stream)
            for conversation in list(stream.conversations.values()):
                self._lost(conversation)

    async def _listen(self, stream: Stream) -> None:
        while True:
            response = await stream.pipe.read()
            for answer in response.answers:
                self._heard(stream, answer)

    async def _leave_when_over(self, stream: Stream) -> None:
        """An ingress that drained, or got stuck, may be a new one or ready when it is dialled again."""
        await stream.over.wait()
        raise StreamLost("it takes nothing more" if stream.broken else "draining")

    # --- transactions ------------------------------------------------------------------------------------------------

    def _usable(self) -> list[Stream]:
        return [stream for stream in self._streams.values() if not (stream.draining or stream.broken)]

    def _place_again(self, conversation: Conversation) -> None:
        self._place(conversation)
        conversation.advance()

    def _place(self, conversation: Conversation) -> None:
        usable = self._usable()
        willing = [stream.endpoint for stream in usable if stream.target not in conversation.refused_by]
        if willing:
            if conversation.placements:
                self._metrics.replays.inc()
            self._unplaced.pop(conversation.exchange.number, None)
            chosen = self._balance.choose(willing, asyncio.get_running_loop().time())
            conversation.placed(self._streams[chosen.place.target])
        elif usable:
            conversation.failed(conversation.refused_by[usable[0].target])
        else:
            self._unplaced[conversation.exchange.number] = conversation
            conversation.unplaced()

    def _heard(self, stream: Stream, answer: filter_pb.Answer) -> None:
        conversation = stream.conversations.get(answer.transaction)
        if conversation is None:
            if answer.HasField("early_stages"):
                stream.early_stages = frozenset(answer.early_stages.stages)
            return
        kind = answer.WhichOneof("kind")
        stream.answered = stream.answered or kind != "refused"
        if kind == "verdict":
            stream.endpoint.succeeded(asyncio.get_running_loop().time())
            conversation.heard(answer.verdict)
        elif kind == "recipient_verdict":
            conversation.heard(answer.recipient_verdict)
        elif kind == "stage_verdict":
            conversation.heard(answer.stage_verdict)
        elif kind == "credit":
            conversation.granted(answer.credit.body_bytes)
        elif kind == "refused":
            self._refusal(stream, conversation, answer.refused)

    def _refusal(self, stream: Stream, conversation: Conversation, refused: filter_pb.Refused) -> None:
        if refused.reason == filter_pb.Refused.REASON_DRAINING:
            # No refusal of this transaction: the same ingress may take it once it has come back.
            stream.drain()
            self.forget(conversation)
            self._place_again(conversation)
            return
        failure = _FAILURE_OF_REFUSAL.get(refused.reason, Failure.INTERNAL)
        if failure is Failure.OVERLOADED:
            stream.endpoint.overloaded(asyncio.get_running_loop().time())
        else:
            log.warning("ingress_refused", extra={"fields": {"ingress": stream.target, "why": refused.detail}})
            if failure is Failure.INTERNAL:
                self._note_failure(stream)
        conversation.refused_by[stream.target] = failure
        self.forget(conversation)
        self._place_again(conversation)

    def _lost(self, conversation: Conversation) -> None:
        self.forget(conversation)
        conversation.losses += 1
        if conversation.losses > REPLAYS_MAX:
            conversation.failed(Failure.INTERNAL)
        else:
            self._place_again(conversation)

    def _note_failure(self, stream: Stream) -> None:
        now_s = asyncio.get_running_loop().time()
        if stream.endpoint.failed(now_s):
            self._metrics.ejections.inc()
            for_s = round(stream.endpoint.ejected_until_s - now_s, 1)
            log.warning("ingress_ejected", extra={"fields": {"ingress": stream.target, "for_s": for_s}})


def _forget_own_cancellation() -> None:
    """Take back the cancellation by which Python 3.11's TaskGroup wakes its own task and which it leaves behind.

    `asyncio.timeout` would take it for somebody else's: the next dial that lasts too long would end the task in
    silence, and this ingress would never be dialled again. Who really cancels us says so by `_closing` or `retired`.
    """
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def backoff_s(attempts: int, jitter: float) -> float:
    """Wait before dialling again: doubles up to BACKOFF_MAX_S; `jitter` in [0, 1) takes up to half of it off."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempts, 10)) * (1 - jitter / 2)
