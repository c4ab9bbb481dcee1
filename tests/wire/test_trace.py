"""wire/trace.py: W3C trace context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.trace import TraceContext, derived_span_id, new_context, parse_traceparent

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_context_survives_the_header(trace_id: int, span_id: int, sampled: bool) -> None:  # noqa: FBT001
    context = TraceContext(trace_id, span_id, sampled)
    assert parse_traceparent(context.traceparent()) == context


@pytest.mark.parametrize(
    "value",
    [
        "",
        VALID[:-1],
        VALID.upper(),
        VALID.replace("00-4", "ff-4", 1),
        "00-" + "0" * 32 + VALID[35:],
        VALID[:36] + "0" * 16 + "-01",
        VALID + "-extra",
    ],
)
def test_an_invalid_header_is_no_context(value: str) -> None:
    assert parse_traceparent(value) is None


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (1.0, 1000, 1000), (0.25, 200, 300)])
def test_the_share_of_sampled_traces_follows_the_ratio(ratio: float, low: int, high: int) -> None:
    step = 2**64 // 1000
    ids = [(number * step).to_bytes(16) + b"\0" * 7 + b"\1" for number in range(1000)]
    assert low <= sum(new_context(entropy, ratio).sampled for entropy in ids) <= high


def test_span_ids_of_children_differ() -> None:
    assert len({derived_span_id(parent, ordinal) for parent in (1, 2, 2**64 - 1) for ordinal in range(50)}) == 150
