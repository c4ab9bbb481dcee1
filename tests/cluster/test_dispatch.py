"""cluster/dispatch.py: who is asked, who waits and how every ask ends; test_dispatch_losses.py breaks replicas."""

import pytest

from actors.model import ErrorKind, Stage
from cluster.errand import Payload, Route
from cluster.table import Replica, Table
from tests.cluster.dispatch_bench import DONE, STAGES, Bench, fused, fused_bench


def test_every_pool_of_the_stage_gets_the_same_bytes_and_the_ask_is_done_with_the_last_answer() -> None:
    bench = Bench()
    bench.up("antivirus-0", "policy-0")
    bench.ask()
    (task,) = bench.links["antivirus-0"].tasks
    assert task.message == b"message"
    assert bench.links["policy-0"].tasks[0].message == b"message"
    bench.links["antivirus-0"].answer(DONE)
    assert not bench.done
    bench.links["policy-0"].answer()
    (ask,) = bench.done
    assert [report.actor for report in ask.reports] == ["antivirus", "policy"]
    assert ask.reports[0].findings == (DONE,)
    assert ask.reports[0].timing is not None
    assert bench.time.armed == 0


def test_a_pool_without_the_stage_is_not_asked() -> None:
    bench = Bench()
    bench.up("antivirus-0", "policy-0")
    bench.ask(stage=Stage.ENVELOPE)
    assert not bench.links["antivirus-0"].tasks
    assert len(bench.links["policy-0"].tasks) == 1


def test_a_question_that_has_the_envelopes_in_it_goes_to_who_is_asked_at_either() -> None:
    bench = Bench()
    stages = {"antivirus": frozenset({Stage.ENVELOPE}), "policy": frozenset({Stage.MESSAGE})}
    bench.dispatcher.update(Table(stages, tuple(Replica(f"{pool}-0", (pool,), "a:1", "here") for pool in stages)))
    for link in bench.links.values():
        link.up()
    bench.ask(route=Route(envelope_waits=True))
    assert [(name, link.tasks[0].envelope_too) for name, link in bench.links.items()] == [
        ("antivirus-0", True),
        ("policy-0", True),
    ]


def test_a_stage_that_no_pool_has_is_done_at_once() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    ask = bench.ask(stage=Stage.HEADERS)
    assert bench.done == [ask]
    assert not ask.reports


def test_what_is_late_is_a_timeout_finding_shortly_before_the_deadline() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.ask(budget_s=20.0)
    (task,) = bench.links["antivirus-0"].tasks
    assert task.budget_ms == pytest.approx(19_850, abs=1)
    bench.time.advance(19.89)
    assert not bench.done
    bench.time.advance(0.02)
    assert bench.failure() == (ErrorKind.TIMEOUT, "timeout: no answer after 19900 ms")
    assert bench.links["antivirus-0"].cancelled == [task.task]


def test_an_answer_after_the_deadline_is_dropped() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.ask(budget_s=1.0)
    bench.time.advance(1.0)
    bench.links["antivirus-0"].answer(DONE)
    assert bench.failure()[0] is ErrorKind.TIMEOUT


def test_tiny_and_past_budgets_still_end_in_a_finding() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.ask(budget_s=-3.0)
    assert bench.links["antivirus-0"].tasks[0].budget_ms == 1
    bench.time.advance(0.0)
    assert bench.failure()[0] is ErrorKind.TIMEOUT


def test_without_a_replica_the_task_waits_for_one() -> None:
    bench = Bench()
    bench.table("antivirus-0")
    bench.ask()
    bench.time.advance(4.0)
    bench.links["antivirus-0"].up()
    bench.links["antivirus-0"].answer(DONE)
    (ask,) = bench.done
    assert ask.reports[0].findings == (DONE,)
    assert bench.time.armed == 0


def test_without_a_replica_for_too_long_the_pool_is_unreachable() -> None:
    bench = Bench()
    bench.table()
    bench.ask()
    bench.time.advance(5.0)
    assert bench.failure() == (ErrorKind.UNREACHABLE, "unreachable: no replica within 5 s")


def test_without_a_replica_until_the_deadline_the_pool_is_unreachable() -> None:
    bench = Bench()
    bench.table()
    bench.ask(budget_s=1.0)
    bench.time.advance(1.0)
    assert bench.failure()[0] is ErrorKind.UNREACHABLE


def test_cancelling_tells_the_replica_and_calls_nobody() -> None:
    bench = Bench()
    bench.up("antivirus-0", "policy-0")
    ask = bench.ask()
    number = bench.links["policy-0"].tasks[0].task
    bench.links["antivirus-0"].answer(DONE)
    bench.dispatcher.cancel(ask)
    assert bench.links["policy-0"].cancelled == [number]
    bench.time.advance(60.0)
    assert not bench.done
    assert bench.dispatcher.status() == {"antivirus-0": 0, "policy-0": 0}


def test_cancelling_an_ask_that_waits_for_a_replica_leaves_nothing() -> None:
    bench = Bench()
    bench.table("antivirus-0")
    bench.dispatcher.cancel(bench.ask())
    bench.links["antivirus-0"].up()
    assert not bench.links["antivirus-0"].tasks
    assert bench.time.armed == 0


def test_later_stages_of_a_transaction_go_to_the_replica_that_knows_it() -> None:
    bench = Bench()
    bench.up(*(f"policy-{number}" for number in range(8)))
    route = Route()
    bench.ask(stage=Stage.ENVELOPE, route=route)
    for _ in range(20):
        bench.ask(route=route)
    assert len(bench.links[route.replicas["policy"]].tasks) == 21


def test_a_transaction_whose_replica_died_moves_to_another_one() -> None:
    bench = Bench()
    bench.up("policy-0", "policy-1")
    route = Route()
    bench.ask(stage=Stage.ENVELOPE, route=route)
    dead = route.replicas["policy"]
    bench.links[dead].breaks()
    assert route.replicas["policy"] != dead


def test_load_spreads_by_bytes() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    bench.ask(Payload(b"x" * 1_000_000))
    for _ in range(50):
        bench.ask(Payload(b"x" * 1000))
    assert sorted(len(link.tasks) for link in bench.links.values()) == [1, 50]


def test_a_replica_on_the_same_node_comes_first() -> None:
    bench = Bench()
    near = Replica("antivirus-0", ("antivirus",), "127.0.0.1:1", "here")
    far = Replica("antivirus-1", ("antivirus",), "192.0.2.9:1", "there")
    bench.dispatcher.update(Table({"antivirus": STAGES["antivirus"]}, (far, near)))
    for link in bench.links.values():
        link.up()
    for _ in range(10):
        bench.ask(Payload(b"x" * 1000))
    assert len(bench.links["antivirus-0"].tasks) == 10


def test_a_full_pool_is_overloaded_at_once() -> None:
    bench = Bench(tasks_max=1)
    bench.up("antivirus-0")
    bench.ask()
    bench.ask()
    assert bench.failure() == (ErrorKind.OVERLOADED, "overloaded: antivirus pool is full")


def test_a_stream_that_is_too_far_behind_is_overloaded_at_once() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.links["antivirus-0"].full = True
    bench.ask()
    assert bench.failure()[0] is ErrorKind.OVERLOADED


def test_a_replica_whose_stream_is_full_does_not_make_the_pool_full() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    bench.links["antivirus-0"].full = True
    for _ in range(20):
        bench.ask()
    assert len(bench.links["antivirus-1"].tasks) == 20
    assert not bench.done


def test_what_is_taken_from_a_replica_that_left_the_table_is_not_blamed() -> None:
    bench = Bench()
    bench.up("antivirus-0", "antivirus-1")
    for _ in range(20):
        bench.ask()
    bench.table("antivirus-1")
    assert len(bench.links["antivirus-1"].tasks) == 20
    bench.links["antivirus-1"].breaks()
    assert not bench.done


def test_a_replica_that_restarted_elsewhere_is_followed() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    old = bench.links["antivirus-0"]
    bench.ask()
    bench.table("antivirus-0", port=2)
    assert old.closed
    new = bench.links["antivirus-0"]
    assert new is not old
    new.up()
    new.answer(DONE)
    assert bench.done[0].reports[0].findings == (DONE,)


def test_news_of_a_stream_that_was_left_are_ignored() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    old = bench.links["antivirus-0"]
    bench.table("antivirus-0", port=2)
    bench.links["antivirus-0"].up()
    old.breaks()
    bench.ask()
    assert len(bench.links["antivirus-0"].tasks) == 1


def test_an_ask_can_be_given_less_time() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    ask = bench.ask(budget_s=60.0)
    bench.dispatcher.shorten(ask, bench.time.now_s + 2.0)
    bench.time.advance(2.0)
    assert bench.failure()[0] is ErrorKind.TIMEOUT
    assert bench.time.armed == 0


def test_closing_ends_everything_that_is_out() -> None:
    bench = Bench()
    bench.up("antivirus-0")
    bench.ask()
    bench.dispatcher.close()
    assert bench.links["antivirus-0"].closed
    assert bench.failure()[0] is ErrorKind.UNREACHABLE


def test_a_replica_of_several_pools_gets_one_task_for_all_of_them() -> None:
    bench = fused_bench("worker-0")
    bench.ask()
    (task,) = bench.links["worker-0"].tasks
    assert not task.actors
    bench.links["worker-0"].answer_for("policy")
    assert not bench.done
    bench.links["worker-0"].answer_for("antivirus", DONE, over=True)
    (ask,) = bench.done
    assert [report.actor for report in ask.reports] == ["policy", "antivirus"]
    assert bench.dispatcher.status() == {"worker-0": 0}
    assert bench.time.armed == 0


def test_the_task_names_its_actors_when_the_stage_does_not_concern_all() -> None:
    bench = fused_bench("worker-0")
    bench.ask(stage=Stage.ENVELOPE)
    (task,) = bench.links["worker-0"].tasks
    assert list(task.actors) == ["policy"]


def test_an_answer_for_an_actor_that_was_not_asked_or_has_answered_is_dropped() -> None:
    bench = fused_bench("worker-0")
    bench.ask()
    link = bench.links["worker-0"]
    link.answer_for("policy")
    link.answer_for("policy")
    link.answer_for("gossip")
    assert not bench.done
    link.answer_for("antivirus", over=True)
    assert len(bench.done) == 1


def test_late_actors_of_one_task_are_timeouts_and_the_task_is_cancelled_once() -> None:
    bench = fused_bench("worker-0")
    bench.ask(budget_s=1.0)
    link = bench.links["worker-0"]
    bench.time.advance(1.0)
    assert {report.failed for report in bench.done[0].reports} == {ErrorKind.TIMEOUT}
    assert len(link.cancelled) == 1


def test_a_draining_replica_finishes_what_it_has_and_gets_nothing_new() -> None:
    bench = fused_bench("worker-0")
    bench.ask()
    bench.dispatcher.update(fused("worker-0", "worker-1", draining=("worker-0",)))
    old, new = bench.links["worker-0"], bench.links["worker-1"]
    bench.ask()
    assert not old.closed
    assert (len(old.tasks), len(new.tasks)) == (1, 0)
    new.up()
    assert (len(old.tasks), len(new.tasks)) == (1, 2), "what waited goes to the new one, pool by pool"
    old.answer_for("policy")
    old.answer_for("antivirus", over=True)
    assert len(bench.done) == 1
