"""Two releases side by side under load, with real processes: see bench/upgrade.py."""

from collections.abc import Callable

import pytest

from bench import upgrade
from bench.release import ReleaseMissing
from tests.conftest import skip_or_fail

pytestmark = [pytest.mark.ray, pytest.mark.timeout(420)]


def test_old_and_new_gateways_and_cells_work_together_and_a_cell_is_replaced_under_load(
    record_property: Callable[[str, object], None],
) -> None:
    try:
        figures = upgrade.measure("0.1.0", seconds=3.0)
    except ReleaseMissing as missing:
        skip_or_fail(str(missing))
    sent = sum(int(str(value)) for key, value in figures.items() if key.endswith("_messages"))
    record_property("figure", f"{sent}_messages_0_tempfails_0_lost")
    assert upgrade.well(figures), figures
    assert int(str(figures["rolling_messages_while_replaced"])) > 0
    assert not figures["endings"]
