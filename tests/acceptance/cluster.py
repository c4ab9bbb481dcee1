"""`make accept-cluster`: the cluster's numbers and bad input, with the real components started here.

Usage: python -m tests.acceptance.cluster [CHECK...]. Exit code 1 when any line is `short`; at most 12 minutes. With
names of checks or groups only these run, and all other lines are short.

Strategy: first the numbers, one after the other with nothing beside them; then the tests, in two calls of pytest side
by side since they mostly wait; last the chaos suite, alone again: it loads the machine.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.acceptance.cluster_numbers import NUMBERS
from tests.acceptance.cluster_rows import BAD_INPUT, CHAOS, CONTROL, NODES, PLACES, VERSIONS
from tests.acceptance.pytests import run_rows
from tests.acceptance.report import Report
from tests.acceptance.rows import Group

Check = Callable[[Report], None]

WITHIN_S = 715.0
"""What is not done by then is short."""
LANES = ((PLACES, BAD_INPUT, CONTROL), (NODES, VERSIONS))
"""Groups that use the same modules stand together: what those start is then started once."""


def check_of(groups: Sequence[Group]) -> Check:
    """The tests of these groups in one call."""
    check = partial(run_rows, rows=[row for group in groups for row in group.rows], timeout_s=groups[0].timeout_s)
    check.__name__ = "+".join(group.name for group in groups)  # type: ignore[attr-defined]
    return check


def checks() -> dict[str, Check]:
    """All checks by name, each for itself."""
    groups = (*(group for lane in LANES for group in lane), CHAOS)
    return {check.__name__: check for check in NUMBERS} | {group.name: check_of([group]) for group in groups}


def run_all(report: Report) -> None:
    """All of them, as fast as they can be measured."""
    for check in NUMBERS:
        report.run(check)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(report.run, map(check_of, LANES)):
            pass
    report.run(check_of([CHAOS]))


def main(names: list[str]) -> int:
    """All checks, or those named; what is not measured is short."""
    known = checks()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such check: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    report = Report("cluster", WITHIN_S)
    if names:
        for name in names:
            report.run(known[name])
    else:
        run_all(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
