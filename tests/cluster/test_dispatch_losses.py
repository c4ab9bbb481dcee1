"""cluster/dispatch.py when replicas break or fall silent: who is tried again, with whom, and whose fault it was."""

from actors.model import ErrorKind
from cluster.errand import Payload
from cluster.table import Replica, Table
from tests.cluster.dispatch_bench import DONE, STAGES, Bench, fused_bench
from tests.cluster.fakes import FakeLink


def test_a_broken_stream_sends_its_task_to_another_replica() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    bench.ask()
    first, second = _holder(bench, "antivirus-0", "antivirus-1")
    first.breaks()
    second.answer(DONE)
    (ask,) = bench.done
    assert ask.reports[0].findings == (DONE,)


def test_a_task_that_broke_two_replicas_is_a_crash_and_is_not_tried_again() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1", "antivirus-2")
    bench.ask()
    for _ in range(2):
        holder, *_ = _holder(bench, "antivirus-0", "antivirus-1", "antivirus-2")
        holder.breaks()
    assert bench.failure() == (ErrorKind.CRASH, "crash: broke 2 replicas")
    assert not any(link.tasks for link in bench.links.values())


def test_the_innocent_who_were_with_a_killer_get_their_answers() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    payloads = [Payload(b"innocent 1"), Payload(b"killer"), Payload(b"innocent 2"), Payload(b"innocent 3")]
    asks = [bench.ask(payload) for payload in payloads]
    link = bench.links["antivirus-0"]
    link.breaks()
    for _ in range(10):
        link.up()
        while link.tasks:
            if link.tasks[0].message == b"killer":
                link.breaks()
                break
            link.answer(DONE)
    assert set(bench.done) == set(asks)
    assert [ask.reports[0].failed for ask in asks] == [None, ErrorKind.CRASH, None, None]


def test_suspects_travel_one_at_a_time_while_fresh_tasks_go_on() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    for _ in range(3):
        bench.ask()
    link = bench.links["antivirus-0"]
    link.breaks()
    link.up()
    assert len(link.tasks) == 1
    bench.ask()
    assert len(link.tasks) == 2
    link.answer(DONE)
    assert len(link.tasks) == 2


def test_many_suspects_go_in_growing_company_once_some_have_proved_innocent() -> None:
    bench = Bench(tasks_max=1000)
    bench.up("antivirus-0")
    for _ in range(200):
        bench.ask()
    link = bench.links["antivirus-0"]
    link.breaks()
    link.up()
    rounds = 0
    while link.tasks:
        rounds += 1
        for _ in range(len(link.tasks)):
            link.answer(DONE)
    assert {report.failed for ask in bench.done for report in ask.reports} == {None}
    assert rounds < 50
    assert len(bench.done) == 200


def test_company_that_a_killer_took_along_travels_alone_afterwards() -> None:
    bench = Bench(tasks_max=1000)
    bench.up("antivirus-0")
    payloads = [Payload(b"killer" if number == 100 else b"innocent") for number in range(200)]
    asks = [bench.ask(payload) for payload in payloads]
    link = bench.links["antivirus-0"]
    link.breaks()
    breaks = 1
    while len(bench.done) < len(asks):
        link.up()
        while link.tasks:
            if any(task.message == b"killer" for task in link.tasks):
                breaks += 1
                link.breaks()
                break
            link.answer(DONE)
    assert breaks == 3
    assert [number for number, ask in enumerate(asks) if ask.reports[0].failed] == [100]


def test_what_a_silent_replica_has_goes_to_another_one() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    bench.ask()
    first, second = _holder(bench, "antivirus-0", "antivirus-1")
    (task,) = first.tasks
    first.falls_silent()
    assert first.cancelled == [task.task]
    second.answer(DONE)
    (ask,) = bench.done
    assert ask.reports[0].findings == (DONE,)


def test_a_silent_replica_gets_nothing_new_until_it_speaks() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    silent, other = bench.links["antivirus-0"], bench.links["antivirus-1"]
    silent.falls_silent()
    for _ in range(20):
        bench.ask()
    assert not silent.tasks
    assert len(other.tasks) == 20
    silent.speaks()
    for _ in range(20):
        bench.ask()
    assert silent.tasks


def test_a_silent_replica_of_a_pool_that_is_gone_is_unreachable() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.ask()
    link = bench.links["antivirus-0"]
    bench.dispatcher.update(
        Table({"policy": STAGES["policy"]}, (Replica("antivirus-0", ("antivirus", "policy"), "127.0.0.1:1", "here"),))
    )
    link.falls_silent()
    assert [report.failed for ask in bench.done for report in ask.reports] == [ErrorKind.UNREACHABLE]


def test_suspects_wait_for_one_that_speaks_and_do_not_go_to_a_silent_one() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    silent, other = bench.links["antivirus-0"], bench.links["antivirus-1"]
    other.full = True
    for _ in range(3):
        bench.ask()
    other.full = False
    silent.tasks.clear()
    silent.falls_silent()
    for _ in range(3):
        assert len(other.tasks) == 1
        other.answer(DONE)
    assert not silent.tasks
    assert len(bench.done) == 3


def test_a_silent_replica_without_a_peer_keeps_its_tasks_and_gets_more() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.ask()
    link = bench.links["antivirus-0"]
    link.falls_silent()
    bench.ask()
    assert len(link.tasks) == 2
    assert not link.cancelled
    link.speaks()
    link.answer(DONE)
    link.answer(DONE)
    assert [ask.reports[0].failed for ask in bench.done] == [None, None]


def test_a_task_that_silences_a_second_replica_alone_is_not_tried_on_a_third() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1", "antivirus-2")
    bench.ask()
    for _ in range(2):
        holder, *_ = _holder(bench, "antivirus-0", "antivirus-1", "antivirus-2")
        holder.tasks.clear()
        holder.falls_silent()
    assert bench.failure() == (ErrorKind.TIMEOUT, "timeout: broke 2 replicas")
    assert not any(link.tasks for link in bench.links.values())


def test_a_suspect_that_waits_for_its_turn_is_not_unreachable() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.ask()
    bench.ask()
    bench.links["antivirus-0"].breaks()
    bench.links["antivirus-0"].up()
    bench.time.advance(6.0)
    assert not bench.done
    bench.time.advance(14.0)
    assert [ask.reports[0].failed for ask in bench.done] == [ErrorKind.TIMEOUT] * 2


def test_a_shared_body_is_handed_to_each_replica_that_is_tried() -> None:
    class Shared:
        body_id = b"body 1"

        def __init__(self) -> None:
            self.handed: list[str] = []

        def hand_to(self, replica: str) -> None:
            self.handed.append(replica)

    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    shared = Shared()
    bench.ask(Payload(b"head", shared, 1_000_000))
    first, second = _holder(bench, "antivirus-0", "antivirus-1")
    assert first.tasks[0].body_id == b"body 1"
    first.breaks()
    assert shared.handed == [first.replica.name, second.replica.name]


def _holder(bench: Bench, *names: str) -> list[FakeLink]:
    """The links, the one with the task first."""
    return sorted((bench.links[name] for name in names), key=lambda link: -len(link.tasks))


def test_what_a_broken_replica_owed_is_asked_actor_by_actor_and_the_guilty_one_is_found() -> None:
    bench = fused_bench("worker-0", "worker-1")
    bench.ask()
    (first,) = [link for link in bench.links.values() if link.tasks]
    (second,) = [link for link in bench.links.values() if link is not first]
    first.answer_for("policy")
    first.breaks()
    (alone,) = second.tasks
    assert list(alone.actors) == ["antivirus"]
    second.breaks()
    (ask,) = bench.done
    assert {report.actor: report.failed for report in ask.reports} == {"policy": None, "antivirus": ErrorKind.CRASH}


def test_of_two_actors_that_may_have_broken_a_replica_one_at_a_time_is_asked_again() -> None:
    bench = fused_bench("worker-0", "worker-1")
    bench.ask()
    (first,) = [link for link in bench.links.values() if link.tasks]
    (second,) = [link for link in bench.links.values() if link is not first]
    first.breaks()
    assert len(second.tasks) == 1
    second.answer()
    assert len(second.tasks) == 1
    second.answer()
    assert [report.failed for report in bench.done[0].reports] == [None, None]
