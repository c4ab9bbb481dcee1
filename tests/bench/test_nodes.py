"""bench/nodes.py: what the rounds say."""

from bench.nodes import APART, ONE, SAME_SESSIONS, THREE, Counted, Figures


def load(cpu_ms: float, unanswered: int = 0) -> dict[str, object]:
    return {
        "cpu_ms_per_message": cpu_ms,
        "load_generator_cpu_ms_per_message": cpu_ms / 4,
        "cpu_ms_per_message_by_process": {"ray::HostProces": cpu_ms / 2, "python": 0.001},
        "unanswered": unanswered,
    }


def test_a_ratio_is_that_of_the_loads_of_one_round() -> None:
    # The machine became half as fast between the first round and the second.
    rounds = [
        {ONE: load(2.0), THREE: load(2.2), APART: load(2.2)},
        {ONE: load(4.0), THREE: load(4.4), APART: load(4.0, unanswered=1)},
        {ONE: load(3.0), THREE: load(3.3), APART: load(3.3)},
    ]
    figures = Figures.of(rounds, Counted([30.0, 35.0, 35.0], 12.34, 0.0), {}, {})
    assert figures.cpu_ms == {ONE: 3.0, THREE: 3.3, APART: 3.3}
    assert figures.load_generator_cpu_ms == {ONE: 0.75, THREE: 0.825, APART: 0.825}
    assert (figures.cpu_ratio_to_three_cells, figures.cpu_ratio, figures.cpu_ratio_same_sessions) == (
        1.0,
        1.1,
        None,
    )
    assert (figures.share_off_percent, figures.ray_bytes_per_message, figures.unanswered) == (10.0, 12.3, 1)
    assert figures.cpu_ms_by_process == {"ray::HostProces": (1.65, 1.65)}


def test_with_the_sessions_of_one_three_nodes_are_compared_with_that_one() -> None:
    rounds = [{ONE: load(2.0), THREE: load(2.2), APART: load(2.2), SAME_SESSIONS: load(3.0)}]
    assert Figures.of(rounds, Counted([1.0], 0.0, 0.0), {}, {}).cpu_ratio_same_sessions == 1.5
