"""`make accept-cluster`: the cluster's numbers and bad input, with the real components started here.

Usage: python -m tests.acceptance.cluster [CHECK...]. Exit code 1 when any line is `short`; at most 12 minutes. With
names of checks or groups only these run, and all other lines are short.

Strategy: first the numbers, one after the other with nothing beside them; then the tests, in two calls of pytest side
by side since they mostly wait; last the chaos suite, alone again: it loads the machine.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from tests.acceptance.chosen import Check, check_of, run_chosen
from tests.acceptance.cluster_numbers import NUMBERS
from tests.acceptance.cluster_rows import BAD_INPUT, CHAOS, CONTROL, NODES, PLACES, VERSIONS
from tests.acceptance.report import Report

WITHIN_S = 715.0
"""What is not done by then is short."""
LANES = ((PLACES, BAD_INPUT, CONTROL), (NODES, VERSIONS))
"""Groups that use the same modules stand together: what those start is then started once."""


def checks() -> dict[str, Check]:
    """All checks by name, each for itself."""
    groups = (*(group for lane in LANES for group in lane), CHAOS)
    return {check.__name__: check for check in NUMBERS} | {group.name: check_of(group) for group in groups}


def run_all(report: Report) -> None:
    """All of them, as fast as they can be measured."""
    for check in NUMBERS:
        report.run(check)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(report.run, (check_of(*lane) for lane in LANES)):
            pass
    report.run(check_of(CHAOS))


def main(names: list[str]) -> int:
    """All checks, or those named; what is not measured is short."""
    return run_chosen(Report("cluster", WITHIN_S), checks(), names, run_all)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
