"""Gateways and ingresses in simulated time: the way of a message up to the dispatcher, and of its verdict back. Pure.

Strategy: `gateway.balance` chooses the ingress, the product's admission when a message begins, and its dispatcher the
replica. The conversation is
docs/flow.md's: offer, envelope, content with the verdict; only where some list could refuse a recipient does the
gateway ask about the envelope, else it goes on at once and the ingress hears all in one. What the ingress hears and
says travels in frames, as between the real ones; a message that its ingress refuses or loses is told to another one,
from the start.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from actors.model import ErrorKind, Stage
from bench.simulation.model import Clock, Process, Writer
from bench.simulation.scoring import Link, Scorer, SimulatedClock
from bench.simulation.shapes import Cost, Costs, Shape
from cluster.admission import MESSAGE_COST_BYTES, Admission
from cluster.config import OverloadConfig
from cluster.dispatch import Dispatcher
from cluster.errand import Ask, DispatchLimits, Payload, Route
from cluster.ingress.gate import times_s
from cluster.table import Replica, Table
from gateway.balance import Balance, Endpoint
from tamis.filter.v1 import examine_service_pb2 as pb
from wire.stream import CROWD_OF_ANSWERS

CLIENT_PIECES = 4
"""Offer, envelope, content, verdict: what a message costs is spent in equal pieces."""
GATEWAY_PIECES = 4
"""Offer, envelope, content, verdict."""
INGRESS_PIECES = 2
"""Taking it in, and judging it."""
END_OF_MESSAGE_S = 20.0
"""[cluster] end_of_message_s."""
_EVENT_BYTES = 500
_TENANTS = ("",)
"""All mail is one tenant's."""
_CROWD_OF_MESSAGES = 2
"""What `wire.stream.CROWD_OF_EVENTS` is in messages: here one item tells a message, and not its events."""


class Outcome(StrEnum):
    """How a message ended."""

    VERDICT = "verdict"
    DEGRADED = "degraded"
    """With a verdict that some actor is missing in."""
    REFUSED = "refused"
    """No ingress took it: the MTA hears 451."""


@dataclass(slots=True, eq=False)
class Passage:
    """One message on its way."""

    number: int
    shape: Shape
    done: "Callable[[Passage], object]"
    began_s: float
    asked_s: float = 0.0
    """When the MTA had said all."""
    ended_s: float = 0.0
    outcome: Outcome | None = None
    line: "Line | None" = None
    """Where it is told to."""
    refused_by: "set[Line]" = field(default_factory=set)
    whole: bool = False
    """Everything of it has been said to the gateway."""
    answered: bool = False
    """The recipient was accepted."""


@dataclass(slots=True, eq=False)
class Told:
    """A passage as one ingress has it."""

    passage: Passage
    line: "Line"
    route: Route = field(default_factory=Route)
    asks: list[Ask] = field(default_factory=list)
    whole: bool = False
    pending: int = 0
    failed: set[ErrorKind] = field(default_factory=set)
    begun: bool = False
    """Its message stage: it has passed the gate."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an ingress says about a passage."""

    told: Told
    outcome: Outcome | None
    """None: the recipient may pass."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What an ingress finds in its cell."""

    scorers: "Mapping[str, Scorer]"
    hop_s: Callable[[int, int], float]
    """From one node to another."""
    limits: DispatchLimits
    transactions_max: int
    choice_s: float
    """CPU of choosing replicas for one stage, beyond what one replica takes."""


class Ingress:
    """The product's dispatcher in a simulated process."""

    def __init__(self, process: Process, node: int, cost: Cost, clock: Clock, inside: "Inside") -> None:
        self.process = process
        self.node = node
        self.cost = cost
        self._piece_s = cost.item_s / INGRESS_PIECES
        self._clock = clock
        self._inside = inside
        self._shapes: dict[int, Shape] = {}
        self._open: dict[int, Told] = {}
        self._admission: Admission[Told] = Admission(OverloadConfig())
        ticking = SimulatedClock(clock)
        self.dispatcher = Dispatcher(self._connect, ticking, ticking.call_later, inside.limits, str(node))

    def update(self, table: Table) -> None:
        """Other replicas are there now."""
        self.dispatcher.update(table)
        self._admission.window.resize(len(table.replicas), self._inside.limits.replica_tasks_max)
        self._begin_waiting()

    def _connect(self, row: Replica, dispatcher: Dispatcher) -> Link:
        scorer = self._inside.scorers[row.name]
        hop_s = self._inside.hop_s(self.node, int(row.node))
        return Link(self._clock, self.process, self.cost, dispatcher, scorer, self._shapes, hop_s, self._results)

    def read(self, line: "Line", passages: list[tuple[Passage, bool]]) -> None:
        """A frame of a gateway: passages, each with whether it is told whole."""
        self.process.frames += 1
        frame_s = self.cost.frame_s
        for passage, whole in passages:
            new = passage.number not in self._open
            demand_s = frame_s + self._piece_s * new + self._inside.choice_s * (new + whole)
            self.process.do(demand_s, self._take, line, passage, whole)
            frame_s = 0.0

    def _results(self, replica: Replica, results: list[pb.TaskResult]) -> None:
        """A frame of a replica."""
        self.process.frames += 1
        self.process.do(self.cost.frame_s, self._report, replica, results)

    def _report(self, replica: Replica, results: list[pb.TaskResult]) -> None:
        for result in results:
            self.dispatcher.result(replica, result)

    def _take(self, line: "Line", passage: Passage, whole: bool) -> None:  # noqa: FBT001
        told = self._open.get(passage.number)
        if told is None or told.passage is not passage:
            told = Told(passage, line)
            if len(self._open) >= self._inside.transactions_max:
                self._say(told, Outcome.REFUSED)
                return
            self._open[passage.number] = told
            told.route.envelope_waits = self._admission.behind
            if not told.route.envelope_waits:
                self._ask(told, Stage.ENVELOPE)
            if Stage.RECIPIENT in passage.shape.stages and not passage.answered:
                self._ask(told, Stage.RECIPIENT)
        if whole:
            told.whole = True
            cost = MESSAGE_COST_BYTES + passage.shape.size_bytes
            if self._admission.enter(_TENANTS, cost, self._clock.now_s):
                self._ask(told, Stage.MESSAGE)
            elif self._admission.queue(told, _TENANTS, cost, self._clock.now_s) is None:
                told.failed.add(ErrorKind.OVERLOADED)
                self._judge(told)

    def _ask(self, told: Told, stage: Stage) -> None:
        """One stage; the verdict waits for all that are under way when all has been told."""
        passage = told.passage
        told.pending += 1
        told.begun |= stage is Stage.MESSAGE
        self._shapes[passage.number] = passage.shape
        payload = Payload(b"%d" % passage.number, body_bytes=passage.shape.size_bytes)
        deadline_s = self._clock.now_s + END_OF_MESSAGE_S

        def over(ask: Ask) -> None:
            told.failed.update(report.failed for report in ask.reports if report.failed is not None)
            told.pending -= 1
            if stage is Stage.RECIPIENT:
                self._say(told, None)
            elif stage is Stage.MESSAGE:
                self._admission.left(self._clock.now_s, *times_s(ask.reports))
                self._begin_waiting()
            self._judge_when_known(told)

        self.dispatcher.ask(told.route, stage, payload, deadline_s, over)

    def _begin_waiting(self) -> None:
        while (turn := self._admission.turn(self._clock.now_s)) is not None:
            self._ask(turn.item, Stage.MESSAGE)

    def _judge_when_known(self, told: Told) -> None:
        if told.begun and not told.pending and self._open.get(told.passage.number) is told:
            self.process.do(self._piece_s, self._judge, told)

    def _judge(self, told: Told) -> None:
        if self._open.pop(told.passage.number, None) is told:
            del self._shapes[told.passage.number]
            overloaded = ErrorKind.OVERLOADED in told.failed
            degraded = Outcome.DEGRADED if told.failed else Outcome.VERDICT
            self._say(told, Outcome.REFUSED if overloaded else degraded)

    def _say(self, told: Told, outcome: Outcome | None) -> None:
        told.line.answers.send(Answer(told, outcome), _EVENT_BYTES)


class Line:
    """The stream between a gateway and an ingress, both ways."""

    def __init__(self, gateway: "Gateway", ingress: Ingress, endpoint: Endpoint, clock: Clock, hop_s: float) -> None:
        self.endpoint = endpoint
        self.ingress = ingress
        self.under_way: set[Passage] = set()
        self.events: Writer[tuple[Passage, bool]] = Writer(
            gateway.process, gateway.cost.frame_s, self._forth, _CROWD_OF_MESSAGES
        )
        self.answers: Writer[Answer] = Writer(ingress.process, ingress.cost.frame_s, self._back, CROWD_OF_ANSWERS)
        self._gateway = gateway
        self._clock = clock
        self._hop_s = hop_s

    def _forth(self, passages: list[tuple[Passage, bool]]) -> None:
        self._clock.after(self._hop_s, self.ingress.read, self, passages)

    def _back(self, answers: list[Answer]) -> None:
        self._clock.after(self._hop_s, self._gateway.read, answers)


class Gateway:
    """One gateway with its clients."""

    def __init__(self, process: Process, client: Process | None, costs: Costs, clock: Clock) -> None:
        self.process = process
        self.cost = costs.gateway
        self.lines: list[Line] = []
        self._client = client
        self._client_piece_s = costs.client.item_s / CLIENT_PIECES + costs.client.frame_s
        self._piece_s = self.cost.item_s / GATEWAY_PIECES + self.cost.frame_s
        self._clock = clock
        self._endpoint_s = costs.endpoint_s
        self._balance = Balance()

    def begin(self, passage: Passage) -> None:
        """A client comes: its connection and the offer."""
        self._as_client(self._offer, passage)

    def lose(self, ingress: Ingress) -> None:
        """An ingress is gone; what it had is told to others."""
        for line in [line for line in self.lines if line.ingress is ingress]:
            self.lines.remove(line)
            for passage in sorted(line.under_way, key=lambda passage: passage.number):
                self._place(passage)

    def read(self, answers: list[Answer]) -> None:
        """A frame of an ingress."""
        self.process.frames += 1
        self.process.do(self.cost.frame_s, self._hear, answers)

    # The conversation with the client; each step is a frame to the gateway and one back.

    def _as_client(self, call: Callable[[Passage], None], passage: Passage) -> None:
        if self._client is None:
            call(passage)
        else:
            self._client.frames += 1
            self._client.do(self._client_piece_s, call, passage)

    def _from_client(self, call: Callable[[Passage], None], passage: Passage, choice_s: float = 0.0) -> None:
        self.process.frames += 1
        self.process.do(self._piece_s + choice_s, call, passage)

    def _to_client(self, call: Callable[[Passage], None], passage: Passage) -> None:
        self._as_client(call, passage)

    def _offer(self, passage: Passage) -> None:
        self._from_client(self._offered, passage)

    def _offered(self, passage: Passage) -> None:
        self._to_client(self._envelope, passage)

    def _envelope(self, passage: Passage) -> None:
        asks = Stage.RECIPIENT in passage.shape.stages
        self._from_client(self._place if asks else self._pass, passage)

    def _pass(self, passage: Passage) -> None:
        """Nobody in the cell could object to the recipient."""
        passage.answered = True
        self._to_client(self._content, passage)

    def _content(self, passage: Passage) -> None:
        passage.asked_s = self._clock.now_s
        self._from_client(self._tell_rest, passage, self._endpoint_s * (len(self.lines) - 1))

    def _tell_rest(self, passage: Passage) -> None:
        passage.whole = True
        if passage.line is None:
            self._place(passage)
        else:
            passage.line.events.send((passage, True), passage.shape.size_bytes)

    def _place(self, passage: Passage) -> None:
        """Tell it to the ingress that the product would choose; 451 if all have refused."""
        if passage.line is not None:
            self._leave(passage)
        willing = {id(line.endpoint): line for line in self.lines if line not in passage.refused_by}
        if not willing:
            self._end(passage, Outcome.REFUSED)
            return
        endpoint = self._balance.choose([line.endpoint for line in willing.values()], self._clock.now_s)
        line = passage.line = willing[id(endpoint)]
        line.under_way.add(passage)
        endpoint.outstanding_bytes += passage.shape.size_bytes
        line.events.send((passage, passage.whole), passage.shape.size_bytes if passage.whole else _EVENT_BYTES)

    def _leave(self, passage: Passage) -> None:
        line, passage.line = passage.line, None
        assert line is not None
        line.under_way.discard(passage)
        line.endpoint.outstanding_bytes -= passage.shape.size_bytes

    def _hear(self, answers: list[Answer]) -> None:
        for answer in answers:
            self.process.frames += 1
            self.process.do(self._piece_s, self._act, answer)

    def _act(self, answer: Answer) -> None:
        passage = answer.told.passage
        if passage.line is not answer.told.line or passage.outcome is not None:
            return  # It was told to another one meanwhile.
        if answer.outcome is None:
            if not passage.answered:
                passage.answered = True
                self._to_client(self._content, passage)
        elif answer.outcome is Outcome.REFUSED:
            passage.refused_by.add(answer.told.line)
            answer.told.line.endpoint.overloaded(self._clock.now_s)
            self._place(passage)
        else:
            answer.told.line.endpoint.succeeded(self._clock.now_s)
            self._leave(passage)
            self._end(passage, answer.outcome)

    def _end(self, passage: Passage, outcome: Outcome) -> None:
        passage.outcome = outcome
        self._to_client(self._heard, passage)

    def _heard(self, passage: Passage) -> None:
        passage.ended_s = self._clock.now_s
        # QUIT, and the end of the connection.
        self.process.frames += 1
        self.process.do(self.cost.frame_s, _nothing)
        passage.done(passage)


def _nothing() -> None:
    """A piece of work that leads to nothing else."""
