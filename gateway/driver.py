"""One milter connection: read, event, ask, reply. One coroutine per connection, one question outstanding.

Strategy: bytes go into the codec as they come; the coroutine takes events until the codec needs more, then tells the
ingress what is new and waits. While it waits for the cluster, an Abort, a broken rule or a lost connection ends the
question at once; `judge` asks and makes replies of the answer. A connection that does not end with QUIT ends with
exactly one log line, and the line has a reason.
"""

import asyncio
import logging
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from gateway import replies
from gateway.body import BodyFile
from gateway.bounds import Admission
from gateway.early import offer
from gateway.judge import Judge, Services
from gateway.session import (
    AskEarly,
    AskVerdict,
    Negotiate,
    Question,
    RefuseMessage,
    Respond,
    Session,
    SessionRules,
    Want,
)
from gateway.snapshot import BrokenSnapshot, SavedConnection
from gateway.spool import SpoolFailed
from gateway.transaction import Transaction
from wire.milter import NEED_DATA, FilterConnection, LimitExceeded, ProtocolError, State
from wire.milter import constants as c
from wire.milter import events as ev

READ_AHEAD_BYTES = 256 * 1024
"""So much is taken from the MTA before it is worked on; without a bound one turn of the loop takes 8 MB a session."""
PROGRESS_S = 5.0
"""While the MTA waits at end of message it hears from us this often and starts its timer again."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Driver(asyncio.Protocol):
    """The connection as asyncio's protocol, with the coroutine that serves it."""

    def __init__(
        self, services: Services, on_open: Callable[["Driver"], Admission], on_gone: Callable[["Driver"], None]
    ) -> None:
        self._services = services
        self._telemetry = services.telemetry
        self._on_open = on_open
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._codec, self._session = self._by_rules(services.rules)
        self._judge = Judge(services)
        self._asking: Question | None = None
        self._interrupt: ev.Event | ProtocolError | None = None
        self._more: asyncio.Future[None] | None = None
        self._unread_bytes = 0
        self._may_read = self._may_write = True
        self._over = False
        self._last_heard_s = self._frame_since_s = self._loop.time()
        self.resumed = False
        """Another process began this session."""

    # --- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        admission = self._on_open(self)
        if admission is Admission.CLOSED:
            self.close("sessions_full")
            return
        if admission is Admission.SHED:
            self._codec, self._session = self._by_rules(self._services.rules.shedding())
        self._task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Bytes of the MTA."""
        self._last_heard_s = self._loop.time()
        if not self._codec.mid_frame:
            self._frame_since_s = self._last_heard_s
        self._codec.receive_data(data)
        self._unread_bytes += len(data)
        if self._unread_bytes >= READ_AHEAD_BYTES:
            self._follow_reading()
        if self._asking is not None:
            self._listen_while_asking()
        else:
            self._wake()

    def pause_writing(self) -> None:
        """The MTA does not read our answers: nothing more is taken from it that we would have to answer."""
        self._may_write = False
        self._follow_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._may_write = True
        self._follow_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """The MTA is gone, or we closed. A mere probe of the port is not worth a line."""
        self._on_gone(self)
        if not self._over and (self._codec.state is not State.START or self._codec.mid_frame):
            self._report("disconnected", self._codec.state.value)
        self._over = True
        self._judge.abort()
        self._wake()

    # --- for the server ----------------------------------------------------------------------------------------------

    @property
    def between_transactions(self) -> bool:
        """No message would be lost by closing now."""
        return self._session.transaction is None

    def frame_open_for_s(self, now_s: float) -> float:
        """How long the MTA has been at one frame; 0 between frames and while it waits for us."""
        return now_s - self._frame_since_s if self._asking is None and self._codec.mid_frame else 0.0

    def silent_for_s(self, now_s: float) -> float:
        """How long the MTA has sent nothing; 0 while it waits for us."""
        return 0.0 if self._asking is not None else now_s - self._last_heard_s

    def close(self, reason: str, why: str = "") -> None:
        """End the connection with one log line; one that is over is cut, whatever it has not read yet."""
        if not self._over:
            self._over = True
            self._report(reason, why)
            self._wake()
        self._transport.abort()

    # --- from process to process -------------------------------------------------------------------------------------

    def read(self, *, on: bool) -> None:
        """Go on or stop taking bytes; what the MTA sends meanwhile stays in the kernel."""
        self._may_read = on
        self._follow_reading()

    def snapshot(self, *, asking: bool) -> SavedConnection | None:
        """What another process needs to go on; None while events are worked on, or with `asking` unset a question is.

        Only for a connection that does not read.
        """
        quiet = self._more is not None and not self._more.done()
        waiting = asking and self._asking is not None and self._interrupt is None
        if self._over or not (quiet or waiting) or self._transport.get_write_buffer_size():
            return None
        return SavedConnection(self._codec.snapshot(), self._session.snapshot(self._asking))

    @property
    def body_file(self) -> BodyFile | None:
        """Where the beginning of the body lies, if it is not in memory."""
        transaction = self._session.transaction
        return transaction.body.file if transaction is not None else None

    def resume(self, saved: SavedConnection, body_descriptor: int | None) -> None:
        """Before `connection_made`: go on where another process left off. Raises BrokenSnapshot."""
        services, transaction = self._services, saved.session.transaction
        stored_bytes = transaction.stored_bytes if transaction is not None else 0
        file = services.spool.adopt(body_descriptor, stored_bytes) if body_descriptor is not None else None
        try:
            self._asking = self._session.resume(saved.session, file)
        except BrokenSnapshot:
            if file is not None:
                file.close()
            raise
        self._codec = FilterConnection.restore(saved.codec, services.limits, offer(services.rules.stages))
        self.resumed = True

    @property
    def socket(self) -> TransportSocket:
        """The connection's socket, to be duplicated and not to be used."""
        return cast("TransportSocket", self._transport.get_extra_info("socket"))

    def leave(self) -> None:
        """Let go of the connection without a word; it lives on in a duplicate of its socket."""
        self._over = True
        self._judge.abort()
        self._transport.abort()
        self._wake()

    # --- the coroutine -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._serve()
        except LimitExceeded as error:
            self.close("limit_exceeded", str(error))
        except ProtocolError as error:
            self.close("protocol_error", str(error))
        except Exception:
            # A bug met by one connection is the end of that connection and of nobody else's.
            log.exception("session_failed")
            self.close("internal_error")
        finally:
            self._session.finish()
            self._judge.forward(None)

    async def _serve(self) -> None:
        codec, receive = self._codec, self._session.receive
        if self._asking is not None:
            await self._satisfy(self._asking)
        while not self._over:
            fields = codec.take_fields()
            if fields:
                self._frame_since_s = self._last_heard_s
                self._session.take_fields(fields)
            event = codec.next_event()
            if event is NEED_DATA:
                self._judge.forward(self._session.transaction)
                if self._session.wants_disk:
                    await self._store(self._transaction)
                    continue
                self._read_on()
                self._more = self._loop.create_future()
                await self._more
                continue
            self._frame_since_s = self._last_heard_s
            want = receive(event)
            if want is not None:
                await self._satisfy(want)
            elif codec.awaiting_reply:
                self._send([ev.Continue()])

    async def _satisfy(self, want: Want) -> None:
        """Do what the session wants."""
        if isinstance(want, AskEarly):
            answers = await self._judge_early(want)
        elif isinstance(want, AskVerdict):
            answers = await self._judge_message(self._transaction, want)
        elif isinstance(want, Negotiate):
            negotiated = self._codec.negotiate(want.offered)
            self._session.leading_space = bool(negotiated.steps & c.SMFIP_HDR_LEADSPC)
            answers = [negotiated]
        elif isinstance(want, Respond):
            answers = [want.reply]
        elif isinstance(want, RefuseMessage):
            self._judge.refuse_oversize(self._transaction)
            self._session.finish()
            answers = [want.reply]
        else:
            self._over = True
            self._transport.close()
            return
        interrupt, self._interrupt = self._interrupt, None
        if isinstance(interrupt, ProtocolError):
            raise interrupt
        if interrupt is not None:
            further = self._session.receive(interrupt)
            if further is not None:
                await self._satisfy(further)
        elif not self._over:
            self._send(answers)

    async def _store(self, transaction: Transaction) -> None:
        """Move the body to disk, while the MTA waits with the rest of it."""
        self._unread_bytes = READ_AHEAD_BYTES
        self._follow_reading()
        try:
            self._session.stored(await self._services.spool.store(transaction.body))
        except SpoolFailed as error:
            fields = {"queue_id": transaction.queue_id, "why": str(error)}
            log.warning("spool_failed", extra={"fields": fields})
            self._session.fail(error.failure)
        self._last_heard_s = self._loop.time()

    async def _judge_early(self, question: AskEarly) -> replies.Replies:
        answer = await self._wait_for(question, self._judge.ask_early(question))
        if self._moot:
            return []
        return self._judge.answer_early(question, answer, self._negotiated)

    async def _judge_message(self, transaction: Transaction, question: AskVerdict) -> replies.Replies:
        began_s = self._telemetry.now_s()
        self._progress_timer = self._loop.call_later(PROGRESS_S, self._progress)
        try:
            answer = await self._wait_for(question, self._judge.ask_message(transaction))
        finally:
            self._progress_timer.cancel()
        if self._moot:
            return []
        waited_s = self._telemetry.now_s() - began_s
        answers = self._judge.answer_message(transaction, answer, waited_s, self._negotiated)
        self._session.finish()
        return answers

    # --- small parts -------------------------------------------------------------------------------------------------

    @property
    def _transaction(self) -> Transaction:
        transaction = self._session.transaction
        if transaction is None:
            raise RuntimeError("the session asks about no transaction")
        return transaction

    @property
    def _negotiated(self) -> ev.Negotiated:
        negotiated = self._codec.negotiated
        if negotiated is None:
            raise RuntimeError("the codec gave a command before negotiation")
        return negotiated

    @property
    def _moot(self) -> bool:
        """Nobody waits for the answer any more."""
        return self._over or self._interrupt is not None

    async def _wait_for(self, question: Question, answer: Awaitable[T]) -> T:
        self._asking = question
        # A goodbye is heard while we ask, also one that came along with the question.
        self._read_on()
        if self._codec.mid_frame:
            self._loop.call_soon(self._listen_while_asking)
        try:
            return await answer
        finally:
            self._asking = None
            self._last_heard_s = self._frame_since_s = self._loop.time()

    def _listen_while_asking(self) -> None:
        """What may come now is a goodbye; anything else breaks the protocol. Either way the question is moot.

        What comes behind the goodbye waits in the codec.
        """
        if self._asking is None or self._interrupt is not None:
            return
        try:
            event = self._codec.next_event()
        except ProtocolError as error:
            self._interrupt = error
        else:
            if event is NEED_DATA:
                return
            self._interrupt = event
        self._judge.abort()

    def _progress(self) -> None:
        if not self._over and self._interrupt is None:
            self._send([ev.Progress()])
            self._progress_timer = self._loop.call_later(PROGRESS_S, self._progress)

    def _by_rules(self, rules: SessionRules) -> tuple[FilterConnection, Session]:
        codec = FilterConnection(self._services.limits, offer(rules.stages))
        return codec, Session(rules, self._services.held, self._telemetry.identify)

    def _read_on(self) -> None:
        """What came is worked on: more may come."""
        paused, self._unread_bytes = self._unread_bytes >= READ_AHEAD_BYTES, 0
        if paused:
            self._follow_reading()

    def _follow_reading(self) -> None:
        wanted = self._may_read and self._may_write and self._unread_bytes < READ_AHEAD_BYTES
        if not self._over and wanted != self._transport.is_reading():
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def _send(self, answers: replies.Replies) -> None:
        self._transport.write(b"".join([self._codec.send(answer) for answer in answers]))

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _report(self, reason: str, why: str) -> None:
        self._telemetry.metrics.closed.labels(reason).inc()
        peer = self._transport.get_extra_info("peername")
        fields = {"reason": reason, "peer": f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"}
        if why:
            fields["why"] = why
        if self._session.transaction is not None:
            fields["queue_id"] = self._session.transaction.queue_id
        log.warning("session_closed", extra={"fields": fields})
