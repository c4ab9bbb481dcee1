"""Values of a cell into the messages of tamis/admin/v1. Pure and total: what does not fit its field is bounded."""

from cluster.admin.control import (
    CellReport,
    NodeReport,
    NodeState,
    PoolReport,
    ProcessReport,
    ProcessState,
    RolloutReport,
    RolloutState,
)
from tamis.admin.v1 import cell_pb2 as pb

_UINT32_MAX = 2**32 - 1
_UINT64_MAX = 2**64 - 1

_NODE_STATES = {
    NodeState.UP: pb.NODE_STATE_UP,
    NodeState.DRAINING: pb.NODE_STATE_DRAINING,
    NodeState.DRAINED: pb.NODE_STATE_DRAINED,
    NodeState.AWAY: pb.NODE_STATE_AWAY,
}
_PROCESS_STATES = {
    ProcessState.STARTING: pb.PROCESS_STATE_STARTING,
    ProcessState.PROVING: pb.PROCESS_STATE_PROVING,
    ProcessState.UP: pb.PROCESS_STATE_UP,
    ProcessState.DRAINING: pb.PROCESS_STATE_DRAINING,
    ProcessState.DOWN: pb.PROCESS_STATE_DOWN,
}
_ROLLOUT_STATES = {
    RolloutState.RUNNING: pb.ROLLOUT_STATE_RUNNING,
    RolloutState.STOPPED: pb.ROLLOUT_STATE_STOPPED,
    RolloutState.DONE: pb.ROLLOUT_STATE_DONE,
}


def cell_to_proto(report: CellReport) -> pb.Cell:
    """Everything of a report."""
    return pb.Cell(
        ready=report.ready,
        draining=report.draining,
        generation=_uint64(report.generation),
        config_version=report.config_version,
        nodes=map(node_to_proto, report.nodes),
        processes=map(_process_to_proto, report.processes),
        pools=map(_pool_to_proto, report.pools),
        rollout=None if report.rollout is None else rollout_to_proto(report.rollout),
        problems={name: text_to_proto(problem) for name, problem in report.problems.items()},
        counters={name: _uint64(count) for name, count in report.counters.items()},
    )


def node_to_proto(node: NodeReport) -> pb.Node:
    """Everything of a node."""
    return pb.Node(
        node=node.node,
        name=node.name,
        address=node.address,
        state=_NODE_STATES[node.state],
        cores=node.cores,
        head=node.head,
        problem=text_to_proto(node.problem),
    )


def rollout_to_proto(rollout: RolloutReport) -> pb.Rollout:
    """Everything of a rollout."""
    return pb.Rollout(
        generation=_uint64(rollout.generation),
        state=_ROLLOUT_STATES[rollout.state],
        why=text_to_proto(rollout.why),
        replaced=_uint32(rollout.replaced),
        total=_uint32(rollout.total),
        problem=text_to_proto(rollout.problem),
        watching=text_to_proto(rollout.watching),
    )


def text_to_proto(text: str) -> str:
    """Text for people as protobuf takes it: what Ray says may hold anything."""
    return text.encode(errors="replace").decode()


def _process_to_proto(process: ProcessReport) -> pb.Process:
    return pb.Process(
        name=process.name,
        actors=process.actors,
        node=process.node,
        address=process.address,
        state=_PROCESS_STATES[process.state],
        generation=_uint64(process.generation),
        outstanding=_uint32(process.outstanding),
        age_s=process.age_s,
        restarts=_uint32(process.restarts),
        memory_bytes=_uint64(process.memory_bytes),
        problem=text_to_proto(process.problem),
        model=text_to_proto(process.model),
    )


def _pool_to_proto(pool: PoolReport) -> pb.Pool:
    return pb.Pool(
        actor=pool.actor,
        up=_uint32(pool.up),
        wanted=_uint32(pool.wanted),
        why=text_to_proto(pool.why),
        queue_delay_ms=pool.queue_delay_ms,
        outstanding=_uint32(pool.outstanding),
    )


def _uint32(number: int) -> int:
    return min(max(number, 0), _UINT32_MAX)


def _uint64(number: int) -> int:
    return min(max(number, 0), _UINT64_MAX)
