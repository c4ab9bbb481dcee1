"""All ingresses: one long-lived stream each, many transactions in it, replay when one breaks.

Strategy: the link places each conversation on the stream with the least outstanding bytes. A broken stream or a
refusal places it again, and the exchange tells everything from Begin. Without any stream a conversation waits for one
until the connect budget is over.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from gateway.conversation import Budgets, Conversation, Stream
from gateway.dial import Pipe, StreamLost
from gateway.exchange import Exchange
from gateway.metrics import Metrics
from gateway.transaction import Failure, Transaction
from tamis.filter.v1 import filter_service_pb2 as filter_pb

REPLAYS_MAX = 4
"""A transaction that was on more broken streams than this may be what breaks them; it is not told again."""
OVERLOAD_PAUSE_S = 0.5
"""An ingress that refused for overload is the last choice for this long."""
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0
"""Below the connect budget, so that an ingress that has come back is found within it."""

Dial = Callable[[str], AbstractAsyncContextManager[Pipe]]

_FAILURE_OF_REFUSAL = {
    filter_pb.Refused.REASON_OVERLOADED: Failure.OVERLOADED,
    filter_pb.Refused.REASON_MALFORMED: Failure.PROTOCOL,
}

log = logging.getLogger(__name__)


class Link:
    """The gateway's streams. `start` and `close` belong to the process, `open` to each transaction."""

    def __init__(self, targets: Sequence[str], budgets: Budgets, dial: Dial, metrics: Metrics) -> None:
        self.budgets = budgets
        self._targets = targets
        self._dial = dial
        self._metrics = metrics
        self._streams: dict[str, Stream] = {}
        self._unplaced: dict[int, Conversation] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._next_number = 0
        self._closing = False

    @property
    def ready(self) -> bool:
        """Whether a transaction could be placed now."""
        return bool(self._usable())

    def start(self) -> None:
        """Connect to every ingress, in the background, for ever."""
        self._tasks = [asyncio.create_task(self._keep_connected(target)) for target in self._targets]

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
        conversation = Conversation(self, Exchange(self._next_number, transaction))
        self._place(conversation)
        return conversation

    def forget(self, conversation: Conversation) -> None:
        """The conversation is over."""
        self._unplaced.pop(conversation.exchange.number, None)
        if conversation.stream is not None:
            conversation.stream.forget(conversation)

    def _usable(self) -> list[Stream]:
        return [stream for stream in self._streams.values() if not (stream.draining or stream.broken)]

    def _place_again(self, conversation: Conversation) -> None:
        self._place(conversation)
        conversation.advance()

    def _place(self, conversation: Conversation) -> None:
        now_s = asyncio.get_running_loop().time()
        usable = self._usable()
        willing = [stream for stream in usable if stream.target not in conversation.refused_by]
        if willing:
            if conversation.placements:
                self._metrics.replays.inc()
            self._unplaced.pop(conversation.exchange.number, None)
            conversation.placed(
                min(willing, key=lambda s: (s.avoid_until_s > now_s, s.outstanding_bytes, s.placed_total))
            )
        elif usable:
            conversation.failed(conversation.refused_by[usable[0].target])
        else:
            self._unplaced[conversation.exchange.number] = conversation
            conversation.unplaced()

    async def _keep_connected(self, target: str) -> None:
        """Dial, serve, dial again; the back-off grows until an ingress has answered something."""
        attempts = 0
        while not self._closing:
            stream = None
            try:
                async with self._dial(target) as pipe:
                    stream = Stream(target, pipe)
                    await self._serve(stream)
            except* StreamLost as lost:
                log.warning("ingress_lost", extra={"fields": {"ingress": target, "why": str(lost.exceptions[0])}})
            except* Exception:
                # A bug in handling one answer must not end the way to this ingress for ever.
                log.exception("ingress_failed", extra={"fields": {"ingress": target}})
            attempts = 0 if stream is not None and stream.answered else attempts + 1
            if not self._closing:
                await asyncio.sleep(backoff_s(attempts, random.random()))

    async def _serve(self, stream: Stream) -> None:
        """Use a stream until it breaks (always by an exception), then place what it had elsewhere."""
        log.info("ingress_connected", extra={"fields": {"ingress": stream.target}})
        self._streams[stream.target] = stream
        self._metrics.ingresses.set(len(self._streams))
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

    def _heard(self, stream: Stream, answer: filter_pb.Answer) -> None:
        conversation = stream.conversations.get(answer.transaction)
        if conversation is None:
            return
        kind = answer.WhichOneof("kind")
        stream.answered = stream.answered or kind != "refused"
        if kind == "verdict":
            conversation.heard(answer.verdict)
        elif kind == "recipient_verdict":
            conversation.heard(answer.recipient_verdict)
        elif kind == "credit":
            conversation.granted(answer.credit.body_bytes)
        elif kind == "refused":
            self._refusal(stream, conversation, answer.refused)

    def _refusal(self, stream: Stream, conversation: Conversation, refused: filter_pb.Refused) -> None:
        if refused.reason == filter_pb.Refused.REASON_DRAINING:
            # No refusal of this transaction: the same ingress may take it once it has come back.
            stream.draining = True
            self.forget(conversation)
            self._place_again(conversation)
            return
        failure = _FAILURE_OF_REFUSAL.get(refused.reason, Failure.INTERNAL)
        if failure is Failure.OVERLOADED:
            stream.avoid_until_s = asyncio.get_running_loop().time() + OVERLOAD_PAUSE_S
        else:
            log.warning("ingress_refused", extra={"fields": {"ingress": stream.target, "why": refused.detail}})
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


def backoff_s(attempts: int, jitter: float) -> float:
    """Wait before dialling again: doubles up to BACKOFF_MAX_S; `jitter` in [0, 1) takes up to half of it off."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempts, 10)) * (1 - jitter / 2)
