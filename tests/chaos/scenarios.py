"""The table of what is broken, for how long, and what the mail may notice of it (ARCHITECTURE section 9)."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.cell import Cell, processes
from tests.chaos.faults import Crashed, Fault, FullDisk, Gone, Killed, Ordered, OtherTime, Stopped, Weathered
from tests.chaos.ledger import Sent
from tests.chaos.mail_host import MailHost
from tests.chaos.network import address, around
from tests.chaos.nodes import GATEWAYS, NODES, Nodes
from tests.chaos.servers import Server
from tests.chaos.switch import Weather


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the table."""

    name: str
    fault: Callable[[Any], Fault]
    """Of the site: a Cell, or Nodes."""
    hold_s: float
    """From the fault to its healing."""
    tempfails: bool = False
    """Whether a 451 is allowed: where no peer is left. Never more than while the fault and its recovery last."""
    recovery_s: float = 30.0
    """Within this time after the fault is over, or after a kill, mail is served as before and nothing is missing."""
    short: bool = False
    """Part of the short form."""
    expects: Callable[[Sequence[Sent]], list[str]] | None = None
    """What is wrong with the messages that began and ended while the fault lasted."""


def _all(role: str) -> Callable[[Cell], Callable[[], list[int]]]:
    return lambda cell: lambda: cell.processes()[role]


def _one(role: str) -> Callable[[Cell], Callable[[], list[int]]]:
    return lambda cell: lambda: cell.processes()[role][:1]


def _killed(find: Callable[[Cell], Callable[[], list[int]]]) -> Callable[[Cell], Fault]:
    return lambda cell: Killed(find(cell))


def _stopped(find: Callable[[Cell], Callable[[], list[int]]]) -> Callable[[Cell], Fault]:
    return lambda cell: Stopped(find(cell))


def _up(cell: Cell) -> Callable[[], list[int]]:
    return lambda: [cell.stack.pid]


def _servers(*pick: Callable[[Cell], Server]) -> Callable[[Cell], Callable[[], list[int]]]:
    return lambda cell: lambda: [one(cell).pid for one in pick]


def _first_clamd(cell: Cell) -> Server:
    return cell.clamds[0]


def _second_clamd(cell: Cell) -> Server:
    return cell.clamds[1]


def _resolver(cell: Cell) -> Server:
    return cell.resolver


def _weather(weather: Weather) -> Callable[[Nodes], Fault]:
    return lambda nodes: Weathered(nodes.network, weather)


def _whole_node(host: int) -> Callable[[Nodes], Fault]:
    return lambda nodes: Gone(nodes.nodes[host])


def _of_node(host: int, role: str) -> Callable[[Nodes], Callable[[], list[int]]]:
    return lambda nodes: lambda: processes(nodes.nodes[host].pid)[role][:1]


def _node_drained(nodes: Nodes) -> Fault:
    return Ordered(nodes.command("node", "drain", address(3)), nodes.command("node", "drain", address(3), "--undo"))


def _only_local_rules(sent: Sequence[Sent]) -> list[str]:
    """At the gateway that is cut off (the first) its own rules act, else 451; the other one serves as ever."""
    cut = min((message.milter for message in sent), default="")
    found = []
    for message in sent:
        wanted = ("reject" if message.blocked else "tempfail") if message.milter == cut else "accept"
        if message.action != wanted and not (message.milter != cut and message.harmful and message.action == "reject"):
            found.append(f"{message.queue_id} at {message.milter}: {message.action}, not {wanted}")
    return found


def _tamis(*words: str) -> Callable[[Cell], list[str]]:
    return lambda cell: [sys.executable, "-m", "cli", *words, "--run-dir", str(cell.stack.run_dir)]


def _crashed(find: Callable[[Cell], Callable[[], list[int]]]) -> Callable[[MailHost], Fault]:
    return lambda host: Crashed(host.cell.stack, find(host.cell))


SCENARIOS = (
    Scenario("ingress-killed", _killed(_one("ingress")), 0.0, short=True),
    Scenario("ingress-stopped", _stopped(_one("ingress")), 8.0),
    Scenario("worker-killed", _killed(_one("worker")), 0.0, short=True),
    Scenario("worker-stopped", _stopped(_one("worker")), 8.0, short=True),
    Scenario("supervisor-killed", _killed(_one("supervisor")), 0.0, short=True),
    Scenario("supervisor-stopped", _stopped(_one("supervisor")), 8.0),
    Scenario("redis-killed", _killed(_one("redis")), 0.0),
    Scenario("redis-stopped", _stopped(_one("redis")), 6.0, short=True),
    Scenario("clamd-killed", lambda cell: Gone(cell.clamds[0]), 4.0),
    Scenario("clamd-stopped", _stopped(_servers(_first_clamd)), 6.0, short=True),
    Scenario("clamds-killed", lambda cell: Gone(*cell.clamds), 4.0, tempfails=True),
    Scenario("clamds-stopped", _stopped(_servers(_first_clamd, _second_clamd)), 6.0, tempfails=True),
    Scenario("resolver-killed", lambda cell: Gone(cell.resolver), 4.0),
    Scenario("resolver-stopped", _stopped(_servers(_resolver)), 6.0, short=True),
    Scenario("raylet-stopped", _stopped(_one("raylet")), 8.0),
    Scenario("gcs-stopped", _stopped(_one("gcs")), 8.0),
    Scenario("gateway-stopped", _stopped(_one("gateway")), 4.0, tempfails=True),
    Scenario("rollout", lambda cell: Ordered(_tamis("rollout", "start")(cell)), 0.0),
    Scenario(
        "cell-drained",
        lambda cell: Ordered(_tamis("drain")(cell), _tamis("drain", "--undo")(cell)),
        4.0,
        tempfails=True,
    ),
    Scenario("workers-killed", _killed(_all("worker")), 0.0, tempfails=True),
    Scenario("ingresses-killed", _killed(_all("ingress")), 0.0, tempfails=True),
)

_CUT_S = 10.0
_ELSE = (*NODES, *GATEWAYS)
NODE_SCENARIOS = (
    Scenario("node-cut-off", _weather(Weather(around([3], _ELSE))), _CUT_S),
    Scenario("head-cut-off", _weather(Weather(around([1], _ELSE))), _CUT_S, recovery_s=45.0),
    Scenario("node-cut-from-nodes", _weather(Weather(around([3], NODES))), _CUT_S),
    Scenario(
        "gateway-cut-off",
        _weather(Weather(around([4], NODES))),
        _CUT_S,
        tempfails=True,
        recovery_s=45.0,
        short=True,
        expects=_only_local_rules,
    ),
    Scenario("delay-200-ms", _weather(Weather(slow_ports=(3,), delay_s=0.2)), _CUT_S),
    Scenario("loss-5-percent", _weather(Weather(loss=0.05)), _CUT_S),
    Scenario("node-drained", _node_drained, 0.0),
    Scenario("store-stopped", _stopped(lambda nodes: lambda: [nodes.redis.pid]), 6.0),
    Scenario("gcs-killed", _killed(_of_node(1, "gcs")), 0.0, recovery_s=45.0),
    Scenario("raylet-killed", _killed(_of_node(3, "raylet")), 0.0, recovery_s=90.0),
    Scenario("node-killed", _whole_node(3), 5.0, recovery_s=90.0),
)
"""With two gateways and three nodes, each in a network namespace."""
MAIL_SCENARIOS = (
    Scenario("postfix-killed", lambda host: Gone(host.postfix), 3.0, tempfails=True),
    Scenario("sink-killed", lambda host: Gone(host.sink), 4.0),
    Scenario("own-raylet-killed", _crashed(_one("raylet")), 0.0, tempfails=True, recovery_s=45.0),
    Scenario("own-gcs-killed", _crashed(_one("gcs")), 0.0, tempfails=True, recovery_s=45.0),
    Scenario("up-killed", _crashed(_up), 0.0, tempfails=True, recovery_s=45.0),
)
"""With a real Postfix in front and a sink behind it, and a service manager that runs `tamis up` again."""
APART_SCENARIOS = (
    Scenario("clock-an-hour-ahead", lambda cell: OtherTime(cell.clock, 3600), 6.0),
    Scenario("clock-two-hours-back", lambda cell: OtherTime(cell.clock, -7200), 6.0),
    Scenario("disk-full", lambda cell: FullDisk(cell.disk), 10.0),
)
"""With a clock and a disk of its own."""
