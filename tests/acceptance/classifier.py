"""`make accept-classifier`: the numbers and the bad input of the classifier, with the real components started here.

Usage: python -m tests.acceptance.classifier [CHECK...]. Exit code 1 when any line is `short`; at most 12 minutes. With
names of checks or groups only these run, and all other lines are short.

Strategy: CPU times first, with nothing beside them; then the long runs of the commands in two lanes side by side.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from tests.acceptance.chosen import Check, check_of, run_chosen
from tests.acceptance.classifier_numbers import hostile, mistakes, online, padding, scoring, training, unseen
from tests.acceptance.classifier_rows import GROUPS
from tests.acceptance.report import Report

WITHIN_S = 710.0
"""What is not done by then is short."""
ALONE: tuple[Check, ...] = (scoring, hostile)


LANES: tuple[tuple[Check, ...], ...] = ((online, unseen, mistakes), (training, padding, *map(check_of, GROUPS)))


def checks() -> dict[str, Check]:
    """All checks by name, each for itself."""
    return {check.__name__: check for lane in (ALONE, *LANES) for check in lane}


def run_all(report: Report) -> None:
    """All of them, as fast as they can be measured."""

    def run_lane(lane: tuple[Check, ...]) -> None:
        for check in lane:
            report.run(check)

    run_lane(ALONE)
    with ThreadPoolExecutor() as pool:
        list(pool.map(run_lane, LANES))


def main(names: list[str]) -> int:
    """All checks, or those named; what is not measured is short."""
    return run_chosen(Report("classifier", WITHIN_S), checks(), names, run_all)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
