"""One Filter stream: many transactions, each from its first event to its verdict.

Strategy: events go to the pure `Transaction`, which says what to start; the dispatcher reports findings; when the
stages that a verdict needs are over, `decide` runs and the answer leaves. All of it happens in callbacks on one loop:
no task, no lock and no queue per transaction. What all streams of the process share is in `Hall`.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial

from actors.decide import decide_early, is_telling, lacks_signature, settled
from actors.examine import stack_of
from actors.model import ErrorKind, Finding, Message, Stage, Verdict, cut_finding, skipped_finding
from cluster.codec import (
    envelope_from_proto,
    recipient_verdict_to_proto,
    stage_to_proto,
    stage_verdict_to_proto,
    verdict_to_proto,
)
from cluster.errand import Ask, Payload, Report
from cluster.ingress.gate import Place
from cluster.ingress.hall import Hall
from cluster.ingress.live import ASIDE, Live, counting
from cluster.ingress.signing import Judged, judge, signed, signing_payload
from cluster.ingress.transaction import Cancel, Grant, Reason, Refuse, Start, State, Step, Transaction
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2

log = logging.getLogger(__name__)

_ANSWER_BYTES = 512
"""What an answer counts for in the writer's bounds, about."""
NOTHING = Payload(b"")
_BACKGROUND = (Stage.ENVELOPE, Stage.HEADERS)
"""Stages that nobody waits for; the others have a deadline of their own."""


class Session:
    """The transactions of one stream. `send` queues an answer and says whether there was room."""

    def __init__(self, hall: Hall, send: Callable[[pb.Answer, int], bool]) -> None:
        self._hall = hall
        self._send = send
        self._live: dict[int, Live] = {}
        self.behind = False
        """The peer does not read its answers: the stream should be closed."""

    def announce(self) -> None:
        """Tell the gateway at which stages it need not wait; nothing while no table says so."""
        stages = self._hall.early_stages()
        if stages is not None:
            self._send(pb.Answer(early_stages=pb.EarlyStages(stages=map(stage_to_proto, stages))), _ANSWER_BYTES)

    def receive(self, events: Iterable[pb.Event]) -> None:
        """Take the events of one frame. Never raises: a transaction that meets a bug of ours is refused, no other."""
        warming: dict[Live, Start] = {}
        for event in events:
            live = self._live.get(event.transaction) or self._open(event)
            if live is not None:
                self._guarded(live, self._receive_event, live, event, warming)
        for live, start in warming.items():
            if live.transaction.state is State.CONTENT and not self._hall.gate.behind:
                self._guarded(live, self._start, live, start)

    def _receive_event(self, live: Live, event: pb.Event, warming: dict[Live, Start]) -> None:
        for step in live.transaction.receive(event, self._hall.clock.monotonic_s()):
            if isinstance(step, Start) and step.stage is Stage.HEADERS:
                # Small mail comes in one frame: its message stage asks the same at once.
                warming[live] = step
            else:
                self._take(live, step)
        if live.number in self._live:
            self._account(live)

    def _guarded(self, live: Live, work: Callable[..., None], *args: object) -> None:
        """A stream serves many transactions, a replica's answers too: what one of them meets must not end it."""
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001
            log.error("transaction_failed error=%s\n%s", type(error).__name__, stack_of(error))  # noqa: TRY400  no text
            self._refuse(live, Reason.REASON_INTERNAL, "internal error")

    def close(self) -> None:
        """The stream is over: forget everything that is open on it."""
        for live in tuple(self._live.values()):
            self._drop(live)
        self._hall.streams.discard(self)
        self._hall.tracer.forget(self)

    def _open(self, event: pb.Event) -> Live | None:
        """A new transaction for Begin; anything else of an unknown one has crossed an answer and is ignored."""
        hall, number = self._hall, event.transaction
        if event.HasField("keep"):
            hall.tracer.keep(self, number)
        if not event.HasField("begin"):
            return None
        if hall.draining or not hall.dispatcher.has_pools:
            self._send_refusal(number, Reason.REASON_DRAINING, "draining" if hall.draining else "no pools yet")
            return None
        if hall.transactions >= hall.transactions_max:
            self._send_refusal(number, Reason.REASON_OVERLOADED, f"{hall.transactions_max} transactions are open")
            return None
        hall.transactions += 1
        live = Live(number, Transaction(hall.limits), hall.clock.monotonic_s(), round(hall.clock.unix_s() * 1e9))
        live.route.heard = partial(self._heard, live)
        if event.begin.stress:
            live.route.skips = hall.stress_skips
        live.expiry = hall.call_later(event.begin.budget_ms / 1000, lambda: self._expire(live))
        self._live[number] = live
        return live

    def _take(self, live: Live, step: Step) -> None:
        match step:
            case Start(stage=Stage.MESSAGE):
                self._admit(live, step)
            case Start(stage=Stage.ENVELOPE) if self._hall.gate.behind:
                # Asking ahead hides the latency of DNS; where messages wait for a processor it only makes them longer.
                live.route.envelope_waits = True
            case Start():
                self._start(live, step)
            case Grant():
                self._answer(live, pb.Answer(transaction=live.number, credit=pb.Credit(body_bytes=step.body_bytes)))
            case Refuse():
                self._refuse(live, step.reason, step.detail)
            case Cancel():
                self._end_without_verdict(live, action="aborted")

    def _account(self, live: Live) -> None:
        """Count the memory of the mail; beyond the bound the transaction that asked for more has to go."""
        hall = self._hall
        held_bytes = live.transaction.held_bytes
        hall.held_bytes += held_bytes - live.held_bytes
        grown = held_bytes > live.held_bytes
        live.held_bytes = held_bytes
        if grown and hall.held_bytes > hall.held_bytes_max:
            self._refuse(live, Reason.REASON_OVERLOADED, f"{hall.held_bytes_max} bytes of mail are held")

    def _admit(self, live: Live, start: Start) -> None:
        """The end of the message has come: its stage begins when the gate lets it pass."""
        if live.expiry is not None:
            live.expiry.cancel()
        live.asked_s = self._hall.clock.monotonic_s()
        live.place = self._hall.gate.pass_now(start)
        if live.place is not None:
            self._start(live, start)
            return

        def begin(shed: frozenset[str]) -> None:
            live.route.skips |= shed
            self._guarded(live, self._start, live, start)

        live.place = Place()
        self._hall.gate.wait(live.place, start, begin, partial(self._refuse, live, Reason.REASON_OVERLOADED))

    def _start(self, live: Live, start: Start) -> None:
        """Serialise what is known, once, and ask the pools of the stage."""
        hall = self._hall
        payload = self._payload(start) if hall.dispatcher.has_stage(start.stage) else NOTHING
        if start.stage in _BACKGROUND:
            cap_s = hall.clock.monotonic_s() + hall.limits.end_of_message_s
            start = Start(start.stage, start.message, min(start.deadline_s, cap_s))
        finished: list[Ask] = []

        def done(ask: Ask) -> None:
            finished.append(ask)
            if live.asks.pop(ask, None) is not None:
                self._stage_over(live, start, ask)

        ask = hall.dispatcher.ask(live.route, start.stage, payload, start.deadline_s, done)
        at_once = bool(finished)
        if not at_once:
            live.asks[ask] = start
        if start.stage is Stage.MESSAGE:
            self._end_of_message(live, start)
        if at_once:
            self._stage_over(live, start, ask)
        else:
            self._judge_when_known(live)

    def _end_of_message(self, live: Live, start: Start) -> None:
        """The message stage is under way: only now may what else is known lead to a verdict."""
        live.deadline_s = start.deadline_s
        self._end_early_stages(live, start.deadline_s)
        live.message = Message(envelope_from_proto(start.message.envelope), start.message.header_block, start.body)

    def _payload(self, start: Start) -> Payload:
        message = start.message
        shared = self._hall.bodies.share(start.body) if start.body else None
        if shared is not None:
            return Payload(message.SerializeToString(), shared, len(start.body))
        if start.body:
            message.body = start.body
        return Payload(message.SerializeToString())

    def _end_early_stages(self, live: Live, deadline_s: float) -> None:
        """From now on everything counts towards the verdict's deadline; refused recipients are of no interest."""
        for ask, start in tuple(live.asks.items()):
            if start.stage is Stage.RECIPIENT and start.recipient in live.transaction.refused_recipients:
                # Cancelling one may end another, which then is gone already.
                live.asks.pop(ask, None)
                self._hall.dispatcher.cancel(ask)
            elif start.stage is not Stage.MESSAGE:
                self._hall.dispatcher.shorten(ask, deadline_s)

    def _stage_over(self, live: Live, start: Start, ask: Ask) -> None:
        live.reports.extend((start, report) for report in ask.reports)
        live.telling = live.telling or any(is_telling(report.findings) for report in ask.reports)
        self._guarded(live, self._go_on, live, start)

    def _go_on(self, live: Live, start: Start) -> None:
        """A stage is over: answer for it, or for all."""
        if start.wants_verdict:
            self._answer_early(live, start)
        self._judge_when_known(live)

    def _judge_when_known(self, live: Live) -> None:
        """Judge once the end of the message was told and all that the verdict needs is known."""
        waited_for = any(start.stage not in ASIDE for start in live.asks.values())
        if live.message is not None and not waited_for and self._live.get(live.number) is live:
            self._judge(live, live.message)

    def _heard(self, live: Live, report: Report) -> None:
        """One actor has answered and others are due: judge without them if nothing they can say changes the action."""
        live.telling = live.telling or is_telling(report.findings)
        if live.message is None or not live.telling:
            return
        due = {name for ask, start in live.asks.items() if start.stage not in ASIDE for name in ask.pending}
        partly = [(start, report) for ask, start in live.asks.items() for report in ask.reports]
        known = counting([*live.reports, *partly], live.transaction.refused_recipients)
        if settled(known, due, live.message, self._hall.judgement):
            live.reports += partly
            self._guarded(live, self._judge, live, live.message, due)

    def _answer_early(self, live: Live, start: Start) -> None:
        findings: list[Finding] = []
        for asked, report in live.reports:
            if asked is start or asked.stage is Stage.ENVELOPE:
                findings += report.findings
        message = Message(envelope_from_proto(start.message.envelope))
        verdict = decide_early(findings, message, self._hall.judgement)
        if start.stage is Stage.RECIPIENT:
            wire_verdict = recipient_verdict_to_proto(start.recipient, verdict)
            self._answer(live, pb.Answer(transaction=live.number, recipient_verdict=wire_verdict))
            return
        if start.stage is not Stage.MAIL:
            self._end_without_verdict(live, action=str(verdict.action))
        answer = pb.Answer(transaction=live.number, stage_verdict=stage_verdict_to_proto(start.stage, verdict))
        self._answer(live, answer)

    def _judge(self, live: Live, message: Message, cut: Iterable[str] = ()) -> None:
        """Decide and answer; `cut` are actors that are not waited for."""
        for start, report in live.reports:
            if report.failed is ErrorKind.OVERLOADED and start.stage is Stage.MESSAGE:
                self._refuse(live, Reason.REASON_OVERLOADED, f"{report.actor} pool is full")
                return
        findings = counting(live.reports, live.transaction.refused_recipients)
        findings += (
            skipped_finding(actor) for actor in live.route.skips if self._hall.dispatcher.asks(Stage.MESSAGE, actor)
        )
        findings += map(cut_finding, cut)
        asked = {report.actor for start, report in live.reports if start.stage is Stage.MESSAGE}
        judged = judge(findings, message, self._hall.judgement, asked)
        payload = signing_payload(judged, self._hall.judgement)
        if payload is None:
            self._conclude(live, judged, judged.verdict)
        else:
            self._sign(live, judged, payload)

    def _sign(self, live: Live, judged: Judged, payload: Payload) -> None:
        """Ask for the signatures of what leaves; what else is under way is not waited for."""
        self._cancel_asks(live)
        start = Start(Stage.SIGN, message_pb2.Message(), live.deadline_s)

        def done(ask: Ask) -> None:
            live.asks.pop(ask, None)
            live.reports.extend((start, report) for report in ask.reports)
            self._guarded(live, self._conclude_signed, live, judged, ask.reports)

        ask = self._hall.dispatcher.ask(live.route, Stage.SIGN, payload, live.deadline_s, done)
        if self._live.get(live.number) is live:
            live.asks[ask] = start

    def _conclude_signed(self, live: Live, judged: Judged, reports: Iterable[Report]) -> None:
        self._conclude(live, judged, signed(judged, reports, self._hall.judgement))

    def _conclude(self, live: Live, judged: Judged, verdict: Verdict) -> None:
        """The verdict leaves. Others compare and count what was judged, not what signing made of it."""
        message = judged.message
        if self._hall.judgement.dkim.signing.configured:
            failed = lacks_signature(verdict)
            self._hall.unsigned += failed
            self._hall.signed += not failed and verdict is not judged.verdict
        traced = self._traced(live, action=str(verdict.action), score=verdict.score, missing=verdict.missing)
        mirror = self._hall.mirror
        if mirror is not None and (message.envelope.mirrored or not mirror.wants(message.envelope.transaction_id)):
            mirror = None
        # A gateway has no use for findings: they are told to who compares or explains.
        told = message.envelope.explained or message.envelope.mirrored or mirror is not None
        wire_verdict = verdict_to_proto(verdict, traced=traced, findings=verdict.findings if told else ())
        self._answer(live, pb.Answer(transaction=live.number, verdict=wire_verdict))
        self._drop(live)
        if mirror is not None:
            verdict_s = self._hall.clock.monotonic_s() - live.asked_s
            if verdict is not judged.verdict:
                wire_verdict = verdict_to_proto(judged.verdict, findings=judged.verdict.findings)
            mirror.offer(live.transaction.envelope, message, wire_verdict, verdict_s)
        if self._hall.tally is not None:
            self._hall.tally.note(verdict, message)

    def _expire(self, live: Live) -> None:
        """The gateway's own deadline for the whole transaction has passed: it does not wait any more."""
        if live.transaction.state is not State.ENDED:
            self._refuse(live, Reason.REASON_INTERNAL, "the deadline of the transaction is over")

    def _refuse(self, live: Live, reason: pb.Refused.Reason, detail: str) -> None:
        if self._end_without_verdict(live, failed=detail):
            self._send_refusal(live.number, reason, detail)

    def _end_without_verdict(self, live: Live, *, action: str = "", failed: str = "") -> bool:
        """Close the transaction and its trace; False when it was over already."""
        if self._live.get(live.number) is not live:
            return False
        self._drop(live)
        self._traced(live, action=action, failed=failed)
        return True

    def _traced(
        self, live: Live, *, action: str = "", score: float = 0.0, missing: tuple[str, ...] = (), failed: str = ""
    ) -> bool:
        """The transaction is over; whether its spans were exported."""
        tracer = self._hall.tracer
        if not tracer.active:
            return False
        now_s = self._hall.clock.monotonic_s()
        passage = live.passage(now_s, action=action, score=score, missing=missing, failed=failed)
        return tracer.over(self, live.number, passage)

    def _drop(self, live: Live) -> None:
        """Take the transaction out of everything; what is still under way for it is cancelled.

        What refers to it is let go, so that its memory is free at once and not when the collector has looked for it:
        thousands of them at a time stopped the loop for 0.3 s.
        """
        if self._live.pop(live.number, None) is None:
            return
        live.transaction.end()
        live.route.heard = None
        if live.expiry is not None:
            live.expiry.cancel()
            live.expiry = None
        self._cancel_asks(live)
        self._hall.transactions -= 1
        self._hall.held_bytes -= live.held_bytes
        if live.place is not None:
            self._hall.gate.leave(live.place, [report for _, report in live.reports])
            live.place = None

    def _cancel_asks(self, live: Live) -> None:
        asks, live.asks = live.asks, {}
        for ask in asks:
            self._hall.dispatcher.cancel(ask)

    def _send_refusal(self, number: int, reason: pb.Refused.Reason, detail: str) -> None:
        refused = pb.Refused(reason=reason, detail=detail)
        if not self._send(pb.Answer(transaction=number, refused=refused), _ANSWER_BYTES):
            self.behind = True

    def _answer(self, live: Live, answer: pb.Answer) -> None:
        if not self._send(answer, _ANSWER_BYTES):
            log.warning("stream_behind transaction=%d", live.number)
            self.behind = True
