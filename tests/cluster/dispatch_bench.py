"""A dispatcher between fake links and a fake clock, for the tests of cluster/dispatch.py."""

from dataclasses import dataclass, field

from actors.model import ErrorKind, Finding, Outcome, Stage
from cluster.dispatch import Dispatcher
from cluster.errand import Ask, DispatchLimits, Payload, Route
from cluster.table import Replica, Table
from tests.cluster.fakes import FakeLink, FakeTime

DONE = Finding("antivirus", "clamav", Outcome.CLEAN)
STAGES = {
    "antivirus": frozenset({Stage.MESSAGE}),
    "policy": frozenset({Stage.ENVELOPE, Stage.MESSAGE}),
}
MESSAGE = Payload(b"message")


@dataclass
class Bench:
    """A dispatcher between fake links and a fake clock."""

    time: FakeTime = field(default_factory=FakeTime)
    links: dict[str, FakeLink] = field(default_factory=dict)
    done: list[Ask] = field(default_factory=list)
    tasks_max: int = 100

    def __post_init__(self) -> None:
        limits = DispatchLimits(replica_tasks_max=self.tasks_max, replica_wait_s=5.0)
        self.dispatcher = Dispatcher(self._connect, self.time, self.time.call_later, limits, node="here")

    def _connect(self, replica: Replica, dispatcher: Dispatcher) -> FakeLink:
        link = self.links[replica.name] = FakeLink(replica, dispatcher)
        return link

    def table(self, *names: str, node: str = "here", port: int = 1) -> None:
        replicas = tuple(Replica(name, (name.partition("-")[0],), f"127.0.0.1:{port}", node) for name in names)
        pools = {name.partition("-")[0] for name in names} | ({"antivirus"} if not names else set())
        self.dispatcher.update(Table({pool: STAGES[pool] for pool in pools}, replicas))

    def up(self, *names: str) -> None:
        self.table(*names)
        for name in names:
            self.links[name].up()

    def ask(
        self,
        payload: Payload = MESSAGE,
        budget_s: float = 20.0,
        stage: Stage = Stage.MESSAGE,
        route: Route | None = None,
    ) -> Ask:
        deadline_s = self.time.now_s + budget_s
        return self.dispatcher.ask(Route() if route is None else route, stage, payload, deadline_s, self.done.append)

    def failure(self) -> tuple[ErrorKind | None, str]:
        """What the only report of the only ask says."""
        ((report,),) = [ask.reports for ask in self.done]
        (finding,) = report.findings
        assert finding.outcome is Outcome.ERROR
        return report.failed, finding.detail


def fused(*names: str, draining: tuple[str, ...] = ()) -> Table:
    """Replicas that run the actors of both pools."""
    replicas = (Replica(name, ("antivirus", "policy"), f"a:{name}", "here", name in draining) for name in names)
    return Table(STAGES, tuple(replicas))


def fused_bench(*names: str) -> Bench:
    bench = Bench()
    bench.dispatcher.update(fused(*names))
    for name in names:
        bench.links[name].up()
    return bench
