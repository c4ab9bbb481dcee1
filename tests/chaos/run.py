"""One scenario, start to end: a quiet stretch, the fault, its healing, until the cell is whole again; then the audit.

Strategy: a load of its own for every scenario, so that at the end nothing is under way and both ends' books are closed.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tests.chaos.cell import DEADLINES
from tests.chaos.ledger import SHOWN_MAX, Audit, Ended, Figures, Judged, audit, figures, served, usual_s
from tests.chaos.load import Load, Specimen, Way
from tests.chaos.scenarios import Scenario

QUIET_S = 3.0
CALM_S = 3.0
"""So long must all mail be served as before until the fault counts as over."""
STRAGGLERS_S = 4.0
"""Within which the spans of the last messages arrive."""
SLOW_S = 1.0
SLOW_TIMES = 4.0
"""What takes longer than this, and than so many times what 99 of 100 took before the fault, is not served as before."""


class Site(Protocol):
    """What is under test: a Cell, Nodes, or a MailHost."""

    @property
    def way(self) -> Way:
        """How its mail comes in."""

    @property
    def whole(self) -> bool:
        """Nothing is missing."""

    def ended(self) -> list[Ended]:
        """What the gateways say of their messages since the last call."""

    def judged(self) -> list[Judged]:
        """What the ingresses say of their verdicts since the last call."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a scenario."""

    scenario: Scenario
    figures: Figures
    audit: Audit
    unexpected: list[str]
    refused: list[str]
    """Queue id, size of the wait and reason of the first messages that were answered 451."""
    whole_s: float | None
    """Until every process was back, from the fault's end; None: not within the scenario's time."""
    lag_s: float
    took_s: float

    @property
    def problems(self) -> list[str]:
        """Why the scenario fell short, one line each."""
        found = [*self.audit.lines, *self.unexpected]
        if self.figures.tempfails and not self.scenario.tempfails:
            found.append(f"{self.figures.tempfails} messages were answered 451 although a peer was there")
            found += self.refused
        if self.whole_s is None:
            found.append(f"not whole after {self.scenario.recovery_s:g} s")
        if self.figures.recovery_s > self.scenario.recovery_s:
            found.append(f"mail was not served as before after {self.figures.recovery_s:.1f} s")
        return found

    def line(self) -> str:
        """The scenario's line."""
        done, count = self.figures, self.audit.count
        whole = "never" if self.whole_s is None else f"{self.whole_s:.1f}"
        return (
            f"{'short' if self.problems else 'ok':<5} {self.scenario.name:<20} messages {done.messages:>5}"
            f"  lost {count('lost')}  duplicated {count('duplicated')}  unmarked {count('unmarked')}"
            f"  harmful {count('harmful')}  disagreeing {count('disagreeing')}  late {count('late')}"
            f"  worst_s {done.worst_s:.2f}  over_s {done.over_s:.2f}  451 {done.tempfails}  degraded {done.degraded}"
            f"  unaccounted {self.audit.unaccounted}  struck_s {done.struck_s:.1f}  recovery_s {done.recovery_s:.1f}"
            f"  whole_s {whole}  lag_s {self.lag_s:.2f}  took_s {self.took_s:.0f}"
        )


async def run(scenario: Scenario, cell: Site, kinds: Sequence[Specimen], per_s: float) -> Result:
    """Run one scenario at this rate."""
    load = Load(cell.way, kinds, secrets.token_hex(3).upper())
    sending = asyncio.create_task(load.at_rate(per_s))
    await asyncio.sleep(QUIET_S)
    slow_s = max(SLOW_S, SLOW_TIMES * usual_s(load.sent))
    fault = scenario.fault(cell)
    broken_s = load.now_s
    await asyncio.to_thread(fault.inject)
    try:
        await asyncio.sleep(scenario.hold_s)
    finally:
        await asyncio.to_thread(fault.heal)
    healed_s = load.now_s
    whole_s = await _until_whole(cell, load, scenario.recovery_s, slow_s)
    sending.cancel()
    await load.over()
    done = figures(load.sent, broken_s, healed_s, slow_s, DEADLINES)
    books, ended = await _closed_books(cell, load)
    why = {one.queue_id: one.why for one in ended}
    refused = [
        f"{one.queue_id} {one.bytes} bytes, began at {one.began_s - broken_s:.1f} s, after {one.waited_s:.1f} s: "
        f"{why.get(one.queue_id) or one.reply}"
        for one in load.sent
        if one.action == "tempfail"
    ]
    meanwhile = [one for one in load.sent if one.began_s >= broken_s and one.ended_s <= healed_s]
    unexpected = scenario.expects(meanwhile) if scenario.expects else []
    return Result(scenario, done, books, unexpected[:SHOWN_MAX], refused[:SHOWN_MAX], whole_s, load.lag_s, load.now_s)


async def _until_whole(cell: Site, load: Load, patience_s: float, slow_s: float) -> float | None:
    """Seconds until nothing was missing, once mail has been served as before for a while; None: not in time."""
    began_s, whole_s = load.now_s, None
    while load.now_s - began_s < patience_s + CALM_S:
        if not await asyncio.to_thread(lambda: cell.whole):
            whole_s = None
        elif whole_s is None:
            whole_s = load.now_s - began_s
        recent = [one for one in load.sent[-2000:] if one.ended_s > load.now_s - CALM_S]
        calm = bool(recent) and all(served(one, slow_s) for one in recent)
        if whole_s is not None and calm and load.now_s - began_s > CALM_S:
            return whole_s
        await asyncio.sleep(0.25)
    return whole_s


async def _closed_books(cell: Site, load: Load) -> tuple[Audit, list[Ended]]:
    wanted = {one.queue_id for one in load.sent if one.scanned}
    judged: list[Judged] = []
    deadline_s = time.monotonic() + STRAGGLERS_S
    while time.monotonic() < deadline_s and wanted - {one.queue_id for one in judged}:
        await asyncio.sleep(0.25)
        judged += cell.judged()
    ended = cell.ended()
    return audit(load.sent, ended, judged, replace(DEADLINES, lag_s=load.lag_s)), ended
