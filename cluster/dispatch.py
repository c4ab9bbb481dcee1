"""The fan-out: asks every pool of a stage within one deadline, and never loses a task.

An `Ask` is one stage of one transaction, an `Errand` one task of it: a replica that runs the actors of several pools is
asked for all of them at once. It is chosen by power of two choices on outstanding bytes, same node first, and kept for
the later stages of a transaction, whose caches are then warm. A broken stream sends its errands to another replica,
pool by pool. Such suspects travel one at a time per replica, so that the message and the actor that kill replicas are
found without taking innocent ones along: who breaks a second one alone is a finding. After a few have proved innocent
they travel in growing company, or many of them would wait past their deadline. What a replica has that says nothing
any more goes to another one too. An errand without any live replica waits for one; every way ends in a report, at the
latest at the deadline.

No I/O and no asyncio in here: links (streams to replicas), the clock and timers are given in.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from actors.model import ErrorKind, Stage, error_finding
from actors.ports import Clock
from cluster.codec import finding_from_proto, finding_to_proto, stage_to_proto
from cluster.errand import Ask, DispatchLimits, Errand, Link, Payload, Pool, Report, Route, Seat, Timer
from cluster.margins import answer_margin_s, budget_ms
from cluster.seating import alone, choose, open_seats, same_process, takes
from cluster.table import Replica, Table
from tamis.filter.v1 import examine_service_pb2 as pb


class Dispatcher:
    """Owns the links to all replicas of the table and what is outstanding on them."""

    def __init__(
        self,
        connect: Callable[[Replica, "Dispatcher"], Link],
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Timer],
        limits: DispatchLimits,
        node: str = "",
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._call_later = call_later
        self._limits = limits
        self._node = node
        self._pools: dict[str, Pool] = {}
        self._asked: dict[Stage, list[str]] = {}
        """The pools of each stage."""
        self._asked_with_envelope: list[str] = []
        """Those of MESSAGE and of ENVELOPE."""
        self._seats: dict[str, Seat] = {}
        self._numbers = 0

    def update(self, table: Table) -> None:
        """Take over a new table: connect to what is new, leave what is gone, follow what has moved."""
        for name, pool in list(self._pools.items()):
            if name not in table.stages:
                del self._pools[name]
                for errand in list(pool.waiting):
                    self._fail(errand, ErrorKind.UNREACHABLE, "no such pool any more")
        for name, stages in table.stages.items():
            self._pools.setdefault(name, Pool()).stages = stages
        self._asked = {stage: [name for name, pool in self._pools.items() if stage in pool.stages] for stage in Stage}
        self._asked_with_envelope = list(dict.fromkeys(self._asked[Stage.MESSAGE] + self._asked[Stage.ENVELOPE]))
        wanted = {
            replica.name: replica for replica in table.replicas if not self._pools.keys().isdisjoint(replica.actors)
        }
        for name, seat in list(self._seats.items()):
            if not same_process(seat.replica, wanted.get(name)):
                self._leave(seat)
        for name, replica in wanted.items():
            if name in self._seats:
                self._seats[name].replica = replica
            else:
                seat = self._seats[name] = Seat(replica)
                for pool in self._pools_of(seat):
                    pool.seats.append(seat)
                seat.link = self._connect(replica, self)

    def close(self) -> None:
        """Leave every replica; errands that are out end as unreachable."""
        self.update(Table())

    def status(self) -> Mapping[str, int]:
        """Number of tasks outstanding by replica; -1 for one without a stream."""
        return {name: len(seat.outstanding) if seat.ready else -1 for name, seat in self._seats.items()}

    @property
    def has_pools(self) -> bool:
        """Whether a table has come; without one nobody would be asked."""
        return bool(self._pools)

    def has_stage(self, stage: Stage) -> bool:
        """Whether anybody is asked at this stage."""
        return bool(self._asked.get(stage))

    def asks(self, stage: Stage, pool: str) -> bool:
        """Whether there is such a pool and this stage asks it."""
        return pool in self._asked.get(stage, ())

    def all_ready(self) -> bool:
        """Whether every pool has a replica with a live stream."""
        return all(any(seat.ready for seat in pool.seats) for pool in self._pools.values())

    def ask(self, route: Route, stage: Stage, payload: Payload, deadline_s: float, done: Callable[[Ask], None]) -> Ask:
        """Ask the pools of a stage; `done` is called once, with a report per pool, before `deadline_s` (monotonic).

        `done` may be called before this returns. `route.heard` is called after each report that leaves others due.
        """
        now_s = self._clock.monotonic_s()
        deadline_s -= answer_margin_s(deadline_s - now_s)
        ask = Ask(stage, payload, route, deadline_s, now_s, budget_ms(deadline_s - now_s), done)
        names = self._asked_with_envelope if ask.envelope_too else self._asked.get(stage, ())
        wanted = [name for name in names if name not in route.skips]
        if wanted:
            ask.timer = self._call_later(max(0.0, deadline_s - now_s), lambda: self._expire(ask))
            self._place_together(ask, wanted)
        else:
            self._finish_ask(ask)
        return ask

    def shorten(self, ask: Ask, deadline_s: float) -> None:
        """The ask must be done by an earlier deadline than it was given."""
        now_s = self._clock.monotonic_s()
        deadline_s -= answer_margin_s(deadline_s - now_s)
        if ask.timer is not None and deadline_s < ask.deadline_s:
            ask.timer.cancel()
            ask.deadline_s = deadline_s
            ask.timer = self._call_later(max(0.0, deadline_s - now_s), lambda: self._expire(ask))

    def cancel(self, ask: Ask) -> None:
        """Nobody waits for the ask any more; `done` is not called."""
        ask.done = None
        for errand in set(ask.pending.values()):
            self._release(errand, cancel=True)
        ask.pending.clear()
        self._finish_ask(ask)

    # What links call.

    def ready(self, replica: Replica) -> None:
        """The stream to a replica is up."""
        seat = self._seat_of(replica)
        if seat is None:
            return
        seat.ready = True
        seat.silent = False
        self._place_waiting(seat)

    def silent(self, replica: Replica) -> None:
        """A replica says nothing any more although its stream stands: others get what it has, as far as they can."""
        seat = self._seat_of(replica)
        if seat is None:
            return
        seat.silent = True
        seat.proven = 0
        culprit = alone(seat)
        for errand in tuple(seat.outstanding.values()):
            # Where the silent one is all there is, it keeps what it has.
            if not any(seat in open_seats(self._pools[name]) for name in errand.pools if name in self._pools):
                self._release(errand, cancel=True)
                errand.breaks += 1
                self._retry(errand, ErrorKind.TIMEOUT if errand is culprit else None)

    def speaks(self, replica: Replica) -> None:
        """A replica that was silent has said something."""
        if (seat := self._seat_of(replica)) is not None:
            seat.silent = False

    def broken(self, replica: Replica) -> None:
        """The stream to a replica broke: its errands are retried elsewhere, or blamed."""
        if (seat := self._seat_of(replica)) is not None:
            self._lose(seat, broke=True)

    def result(self, replica: Replica, result: pb.TaskResult) -> None:
        """A replica has answered; an answer that nobody waits for is dropped."""
        seat = self._seats.get(replica.name)
        errand = seat.outstanding.get(result.task) if seat is not None else None
        if errand is None:
            return
        actor = result.actor or errand.pools[0]
        if actor not in errand.pools:
            return
        ask, now_s = errand.ask, self._clock.monotonic_s()
        findings = tuple(map(finding_from_proto, result.findings))
        self._finish(errand, Report(actor, ask.stage, findings, result.timing, ask.started_s, now_s))

    # The ways of an errand.

    def _place_together(self, ask: Ask, wanted: list[str]) -> None:
        """One errand for each replica that is chosen, with all the wanted pools that it belongs to."""
        chosen: list[tuple[Errand, Seat | None]] = []
        while wanted:
            seat = self._seat_for(ask, wanted[0])
            actors = seat.replica.actors if seat is not None else ()
            together = [name for name in wanted if name in actors] or wanted[:1]
            wanted = [name for name in wanted if name not in together]
            chosen.append((self._errand(ask, together), seat))
        for errand, seat in chosen:
            if seat is None or not self._send(errand, seat):
                self._split(errand)

    def _errand(self, ask: Ask, pools: list[str], breaks: int = 0) -> Errand:
        self._numbers += 1
        errand = Errand(self._numbers, ask, pools, len(ask.payload.message) + ask.payload.body_bytes, breaks=breaks)
        ask.pending.update(dict.fromkeys(pools, errand))
        return errand

    def _split(self, errand: Errand) -> None:
        """Place what an errand wants pool by pool: the replica for all of it did not work out."""
        if len(errand.pools) == 1:
            self._place(errand)
            return
        for one in [self._errand(errand.ask, [name], errand.breaks) for name in errand.pools]:
            self._place(one)

    def _place(self, errand: Errand) -> None:
        """Send an errand of one pool to a seat, or let it wait for one, or fail it as overloaded."""
        ask, (name,) = errand.ask, errand.pools
        pool = self._pools[name]
        if not any(takes(seat, errand.breaks) for seat in open_seats(pool)):
            self._wait(errand, pool)
            return
        refused: list[Seat] = []
        while (seat := self._seat_for(ask, name, errand.breaks, refused)) is not None:
            if self._send(errand, seat):
                return
            refused.append(seat)
        self._fail(errand, ErrorKind.OVERLOADED, f"{name} pool is full")

    def _seat_for(self, ask: Ask, pool: str, breaks: int = 0, refused: Sequence[Seat] = ()) -> Seat | None:
        """The best seat of a pool that takes one task more."""
        seats = [
            seat
            for seat in open_seats(self._pools[pool])
            if takes(seat, breaks) and len(seat.outstanding) < self._limits.replica_tasks_max and seat not in refused
        ]
        return choose(seats, ask.route.replicas.get(pool, ""), self._node)

    def _place_late(self, errand: Errand) -> None:
        """Place an errand that has already used up some of its time."""
        errand.ask.budget_ms = budget_ms(errand.ask.deadline_s - self._clock.monotonic_s())
        self._split(errand)

    def _send(self, errand: Errand, seat: Seat) -> bool:
        ask, payload = errand.ask, errand.ask.payload
        task = pb.Task(
            task=errand.number,
            stage=stage_to_proto(ask.stage),
            budget_ms=ask.budget_ms,
            message=payload.message,
            envelope_too=ask.envelope_too,
            known=map(finding_to_proto, payload.known),
        )
        if len(errand.pools) < len(seat.replica.actors):
            task.actors.extend(errand.pools)
        if payload.shared is not None:
            task.body_id = payload.shared.body_id
        if seat.link is None or not seat.link.send(task, len(payload.message)):
            return False
        if payload.shared is not None:
            payload.shared.hand_to(seat.replica.name)
        errand.seat = seat
        seat.outstanding[errand.number] = errand
        seat.outstanding_bytes += errand.size_bytes
        if errand.breaks:
            seat.suspects.append(errand)
        for name in errand.pools:
            ask.route.replicas[name] = seat.replica.name
        return True

    def _wait(self, errand: Errand, pool: Pool) -> None:
        """No seat now: wait, for as long as [cluster] replica_wait_s and the deadline allow."""
        pool.waiting.append(errand)
        if errand.wait is None:
            wait_s = self._limits.replica_wait_s

            def give_up() -> None:
                if open_seats(pool):
                    return  # A suspect waits for its turn, not for a replica.
                self._fail(errand, ErrorKind.UNREACHABLE, f"no replica within {wait_s:g} s")

            errand.wait = self._call_later(wait_s, give_up)

    def _place_waiting(self, seat: Seat) -> None:
        """A seat has room: place what waits in its pools."""
        for pool in self._pools_of(seat):
            waiting, pool.waiting = pool.waiting, deque()
            for errand in waiting:
                _stop_waiting(errand)
                self._place_late(errand)

    def _place_suspects(self, seat: Seat) -> None:
        """A suspect has left: its place goes to the next ones, in order, as many as may go now."""
        for name in self._pools.keys() & set(seat.replica.actors):
            waiting = self._pools[name].waiting
            while waiting and takes(seat, waiting[0].breaks) and seat in open_seats(self._pools[name]):
                errand = waiting.popleft()
                _stop_waiting(errand)
                self._place_late(errand)

    def _seat_of(self, replica: Replica) -> Seat | None:
        seat = self._seats.get(replica.name)
        return seat if seat is not None and same_process(seat.replica, replica) else None

    def _pools_of(self, seat: Seat) -> list[Pool]:
        return [self._pools[name] for name in seat.replica.actors if name in self._pools]

    def _lose(self, seat: Seat, *, broke: bool) -> None:
        """Take back everything a seat had; a replica that broke may have done so because of one of its errands."""
        seat.ready = False
        seat.proven = 0
        culprit = alone(seat) if broke else None
        for errand in tuple(seat.outstanding.values()):
            self._release(errand, cancel=False)
            errand.breaks += broke
            self._retry(errand, ErrorKind.CRASH if errand is culprit else None)

    def _retry(self, errand: Errand, blame: ErrorKind | None) -> None:
        """Place anew what its replica did not finish, or end it when it is to blame for that."""
        for name in [name for name in errand.pools if name not in self._pools]:
            self._fail_pool(errand, name, ErrorKind.UNREACHABLE, "no such pool any more")
        if blame is not None:
            self._fail(errand, blame, f"broke {errand.breaks} replicas")
        elif errand.pools:
            self._place_late(errand)

    def _leave(self, seat: Seat) -> None:
        """Forget a seat whose replica is gone or lives elsewhere now."""
        del self._seats[seat.replica.name]
        for pool in self._pools_of(seat):
            pool.seats.remove(seat)
        if seat.link is not None:
            seat.link.close()
        self._lose(seat, broke=False)

    def _expire(self, ask: Ask) -> None:
        """The deadline: what is still out is late, or never had a replica."""
        for name, errand in tuple(ask.pending.items()):
            if errand.seat is None and not errand.breaks:
                self._fail_pool(errand, name, ErrorKind.UNREACHABLE, "no replica")
            else:
                ms = (self._clock.monotonic_s() - ask.started_s) * 1000
                self._fail_pool(errand, name, ErrorKind.TIMEOUT, f"no answer after {ms:.0f} ms")

    def _fail(self, errand: Errand, kind: ErrorKind, detail: str) -> None:
        for name in tuple(errand.pools):
            self._fail_pool(errand, name, kind, detail)

    def _fail_pool(self, errand: Errand, pool: str, kind: ErrorKind, detail: str) -> None:
        ask, now_s = errand.ask, self._clock.monotonic_s()
        finding = error_finding(pool, pool, kind, detail, (now_s - ask.started_s) * 1000)
        self._finish(errand, Report(pool, ask.stage, (finding,), None, ask.started_s, now_s, kind))

    def _finish(self, errand: Errand, report: Report) -> None:
        ask = errand.ask
        if ask.pending.pop(report.actor, None) is None:
            return
        ask.reports.append(report)
        if len(errand.pools) == 1:
            self._release(errand, cancel=report.failed is ErrorKind.TIMEOUT)
        errand.pools.remove(report.actor)
        if not ask.pending:
            self._finish_ask(ask)
        elif ask.route.heard is not None:
            ask.route.heard(report)

    def _finish_ask(self, ask: Ask) -> None:
        if ask.timer is not None:
            ask.timer.cancel()
            ask.timer = None
        done, ask.done = ask.done, None
        if done is not None:
            done(ask)

    def _release(self, errand: Errand, *, cancel: bool) -> None:
        """Take the errand off its seat or out of the waiting line; a suspect's place goes to the next one."""
        if errand.wait is not None:
            _stop_waiting(errand)
            for name in errand.pools:
                pool = self._pools.get(name)
                if pool is not None and errand in pool.waiting:
                    pool.waiting.remove(errand)
        seat, errand.seat = errand.seat, None
        if seat is None:
            return
        del seat.outstanding[errand.number]
        seat.outstanding_bytes -= errand.size_bytes
        if cancel and seat.link is not None:
            seat.link.cancel(errand.number)
        if errand in seat.suspects:
            seat.suspects.remove(errand)
            seat.proven += not cancel
            if seat.ready:
                self._place_suspects(seat)


def _stop_waiting(errand: Errand) -> None:
    if errand.wait is not None:
        errand.wait.cancel()
        errand.wait = None
