import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bounds import Admission, HeldBytes, SessionBounds


def test_sessions_above_the_bound_are_shed_and_a_quarter_above_it_closed() -> None:
    bounds = SessionBounds(100, 0.75, math.inf)
    assert [bounds.admit(count) for count in (0, 99, 100, 124, 125)] == [
        Admission.SERVED,
        Admission.SERVED,
        Admission.SHED,
        Admission.SHED,
        Admission.CLOSED,
    ]


def test_stress_begins_at_its_share_and_ends_at_two_thirds_of_it() -> None:
    bounds = SessionBounds(100, 0.75, math.inf)
    changes = [(count, bounds.stressed) for count in [*range(101), *range(100, -1, -1)] if bounds.count(count)]
    assert changes == [(75, True), (49, False)]


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_where_files_are_few_the_bounds_follow(sessions_max: int, files_max: int) -> None:
    bounds = SessionBounds(sessions_max, 0.75, files_max)
    assert 1 <= bounds.sessions_max <= bounds.served_max
    assert bounds.served_max <= max(files_max, 1)
    assert bounds.sessions_max <= sessions_max
    assert bounds.admit(bounds.served_max) is Admission.CLOSED


@pytest.mark.parametrize(("total", "tight"), [(50, False), (51, True)])
def test_memory_is_tight_when_more_than_half_is_used(total: int, *, tight: bool) -> None:
    held = HeldBytes(100)
    assert held.take(total)
    assert held.tight == tight
