"""What should run where, from settings, nodes and load. Pure."""

from collections import Counter

import pytest

from cluster.config import ClusterConfig, Labels, Pools
from cluster.supervisor.placement import NodeView, Wanted, least, listens_at, place
from cluster.supervisor.state import INGRESS, Process

FUSED = Pools(dkim=2, policy=2, classifier=2, antivirus=1, layout="fused")
SPLIT = Pools(layout="split")


def node(name: str, address: str = "127.0.0.1", *, cores: int = 2, memory_mb: int = 0, **labels: str) -> NodeView:
    return NodeView(name, address, labels=labels, cores=cores, memory_bytes=memory_mb * 2**20)


def by_node(wanted: Wanted, group: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for place_, count in wanted.processes.items():
        counts[place_.node] += count if place_.group == group else 0
    return dict(+counts)


def test_every_node_has_the_processes_of_its_size_and_its_ingresses() -> None:
    config = ClusterConfig(pools=Pools(policy=2), ingresses=2)
    wanted = place(config, [node("small"), node("large", cores=32)], (), {}, ())
    assert by_node(wanted, INGRESS) == {"small": 2, "large": 2}
    assert by_node(wanted, "worker") == {"small": 2}
    assert by_node(wanted, "policy") == {"large": 2}
    assert not wanted.missing


def test_a_fused_process_has_only_the_actors_that_want_so_many() -> None:
    wanted = place(ClusterConfig(pools=FUSED), [node("a")], (), {}, ())
    actors = sorted(place_.actors for place_ in wanted.processes if place_.group == "worker")
    assert actors == [("dkim", "policy", "classifier"), ("dkim", "policy", "classifier", "antivirus")]


def test_what_scaling_wants_is_dealt_out_evenly() -> None:
    nodes = [node("a"), node("b"), node("c")]
    wanted = place(ClusterConfig(pools=SPLIT), nodes, (), {"classifier": 8, "dkim": 2}, ())
    assert by_node(wanted, "classifier") == {"a": 3, "b": 3, "c": 2}
    assert by_node(wanted, "dkim") == {"a": 1, "b": 1, "c": 1}, "never fewer than [cluster.pools]"


def test_labels_say_where_something_may_run() -> None:
    config = ClusterConfig(pools=SPLIT, labels=Labels(ingress="role=front", antivirus="clamd=yes"))
    wanted = place(config, [node("a", role="front"), node("b", clamd="yes")], (), {}, ())
    assert by_node(wanted, INGRESS) == {"a": 1}
    assert by_node(wanted, "antivirus") == {"b": 1}
    assert by_node(wanted, "dkim") == {"a": 1, "b": 1}


def test_a_label_that_no_node_has_is_missing_and_the_rest_runs() -> None:
    wanted = place(ClusterConfig(pools=SPLIT, labels=Labels(antivirus="clamd=yes")), [node("a")], (), {}, ())
    assert wanted.missing == {
        "antivirus": "no node is there for it: none has the label clamd=yes; see [cluster.labels] and [ray] labels"
    }
    assert by_node(wanted, "dkim") == {"a": 1}


def test_more_processes_than_the_memory_holds_are_missing_and_every_actor_has_one_before_any_has_two() -> None:
    config = ClusterConfig(pools=Pools(dkim=500, layout="split"), process_memory_mb=100)
    wanted = place(config, [node("a", memory_mb=1000)], (), {}, ())
    assert sum(wanted.processes.values()) == 10
    assert by_node(wanted, INGRESS) == by_node(wanted, "antivirus") == {"a": 1}
    assert by_node(wanted, "dkim") == {"a": 6}
    assert wanted.missing == {
        "node a": "its memory holds 10 processes of 100 MB, 494 more are wanted: "
        "add a node, or ask for less in [cluster.pools]"
    }


def test_a_node_that_is_emptied_keeps_its_replicas_until_its_ingress_is_gone() -> None:
    config, nodes = ClusterConfig(pools=SPLIT), [node("a"), node("b")]
    first = place(config, nodes, {"a"}, {}, {"a", "b"})
    assert by_node(first, INGRESS) == {"b": 1}
    assert by_node(first, "dkim") == {"a": 1, "b": 1}
    assert by_node(place(config, nodes, {"a"}, {}, {"b"}), "dkim") == {"b": 1}


@pytest.mark.parametrize("gone", [{"alive": False}, {"leaving": True}])
def test_a_node_that_is_gone_or_leaves_gets_nothing(gone: dict[str, bool]) -> None:
    nodes = [node("a"), NodeView("b", "127.0.0.1", **gone)]  # type: ignore[arg-type]  flags by name
    wanted = place(ClusterConfig(), nodes, (), {}, ())
    assert {place_.node for place_ in wanted.processes} == {"a"}


def test_the_least_is_what_the_open_nodes_have_without_load() -> None:
    config = ClusterConfig(pools=Pools(dkim=0, policy=2), labels=Labels(antivirus="clamd=yes"))
    nodes = [node("a", clamd="yes"), node("b"), node("c")]
    assert least(config, nodes, {"c"}) == {"policy": 4, "classifier": 2, "antivirus": 1}


@pytest.mark.parametrize(
    ("listen", "on", "shared", "expected"),
    [
        ("127.0.0.1:25", "home", False, ("127.0.0.1", 26)),
        ("127.0.0.1:25", "home", True, ("127.0.0.1", 25)),
        ("127.0.0.1:25", "far", False, ("127.0.0.2", 26)),
        ("127.0.0.5:25", "home", False, ("127.0.0.5", 26)),
    ],
)
def test_an_ingress_listens_as_configured_at_home_and_on_the_nodes_own_address_elsewhere(
    listen: str, on: str, *, shared: bool, expected: tuple[str, int]
) -> None:
    nodes = {"home": node("home"), "far": node("far", "127.0.0.2")}
    config = ClusterConfig(listen=listen, shared_port=shared)
    assert listens_at(config, Process(INGRESS, (), on, 3, 1), nodes, "home") == expected


def test_a_replica_is_told_the_address_of_its_node() -> None:
    nodes = {"home": node("home", "10.1.0.5")}
    assert listens_at(ClusterConfig(), Process("dkim", ("dkim",), "home", 0, 0), nodes, "home") == ("10.1.0.5", 0)
