import dataclasses

import pytest

from cluster.admin import codec, control
from cluster.admin.codec import cell_to_proto, node_to_proto, rollout_to_proto
from cluster.admin.control import (
    CellReport,
    NodeReport,
    NodeState,
    ProcessReport,
    ProcessState,
    RolloutReport,
    RolloutState,
)
from tamis.admin.v1 import cell_pb2
from tests.cluster.admin.fake_cell import REPORT


def test_a_report_keeps_all_it_says() -> None:
    cell = cell_to_proto(REPORT)
    assert (cell.ready, cell.draining, cell.generation, cell.config_version) == (True, False, 3, "0badcafe")
    assert [(node.node, node.name, node.state, node.cores, node.head) for node in cell.nodes] == [
        ("a1b2c3d4e5", "north", cell_pb2.NODE_STATE_UP, 2.0, True),
        ("a1b2ffffff", "south", cell_pb2.NODE_STATE_UP, 2.0, False),
    ]
    worker = cell.processes[1]
    assert (worker.name, list(worker.actors), worker.outstanding, worker.age_s, worker.restarts) == (
        "worker-0",
        ["dkim", "policy"],
        5,
        60.0,
        1,
    )
    assert cell.processes[0].memory_bytes == 80 << 20
    assert [process.model for process in cell.processes] == ["", "0f1e2d3c"]
    assert (cell.pools[1].wanted, cell.pools[1].why, cell.pools[1].queue_delay_ms) == (2, "queue delay 40 ms", 40.0)
    assert cell.rollout.state == cell_pb2.ROLLOUT_STATE_DONE
    watching = dataclasses.replace(
        REPORT, rollout=RolloutReport(4, RolloutState.RUNNING, "", 0, 4, watching="worker-0.4")
    )
    assert cell_to_proto(watching).rollout.watching == "worker-0.4"
    assert dict(cell.counters) == {"tamis_ingress_refused": 7}


@pytest.mark.parametrize("name", ["Cell", "Node", "Process", "Pool", "Rollout"])
def test_values_and_messages_have_the_same_fields(name: str) -> None:
    fields = [field.name for field in dataclasses.fields(getattr(control, f"{name}Report"))]
    assert sorted(fields) == sorted(field.name for field in getattr(cell_pb2, name).DESCRIPTOR.fields)


def test_every_state_has_its_number() -> None:
    for state in NodeState:
        node = NodeReport("n", "n", "", state, 1.0)
        assert cell_pb2.NodeState.Name(node_to_proto(node).state) == f"NODE_STATE_{state.name}"
    for process_state in ProcessState:
        process = ProcessReport("p", (), "", "", process_state, 1)
        cell = cell_to_proto(dataclasses.replace(REPORT, processes=(process,)))
        assert cell_pb2.ProcessState.Name(cell.processes[0].state) == f"PROCESS_STATE_{process_state.name}"
    for rollout_state in RolloutState:
        rollout = RolloutReport(1, rollout_state, "", 0, 0)
        assert cell_pb2.RolloutState.Name(rollout_to_proto(rollout).state) == f"ROLLOUT_STATE_{rollout_state.name}"
    for descriptor in (cell_pb2.NodeState, cell_pb2.ProcessState, cell_pb2.RolloutState):
        assert descriptor.Name(0).endswith("_UNSPECIFIED")


def test_no_rollout_is_none_and_not_an_empty_one() -> None:
    assert not cell_to_proto(dataclasses.replace(REPORT, rollout=None)).HasField("rollout")


def test_what_does_not_fit_is_bounded_and_never_an_error() -> None:
    process = dataclasses.replace(REPORT.processes[0], outstanding=-1, restarts=2**40, problem="\ud800 half a pair")
    report = CellReport(
        ready=False, draining=False, generation=-5, config_version="", processes=(process,), counters={"x": 2**70}
    )
    cell = cell_to_proto(report)
    assert cell.generation == 0
    assert (cell.processes[0].outstanding, cell.processes[0].restarts) == (0, 2**32 - 1)
    assert cell.processes[0].problem == "? half a pair"
    assert cell.counters["x"] == 2**64 - 1
    assert codec.text_to_proto("Größe") == "Größe"
