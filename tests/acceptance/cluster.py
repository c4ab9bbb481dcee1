"""`make accept-cluster`: the cluster's numbers and bad input, with the real components started here.

Usage: python -m tests.acceptance.cluster [CHECK...]. Exit code 1 when any line is `short`; at most 12 minutes. With
names of checks or groups only these run, and all other lines are short.
"""

import sys
from collections.abc import Callable
from functools import partial

from tests.acceptance.cluster_numbers import NUMBERS
from tests.acceptance.cluster_rows import GROUPS
from tests.acceptance.pytests import run_rows
from tests.acceptance.report import Report

Check = Callable[[Report], None]


def checks() -> dict[str, Check]:
    """All checks by name, in the order in which they run."""
    tests = {group.name: partial(run_rows, rows=group.rows, timeout_s=group.timeout_s) for group in GROUPS}
    for name, check in tests.items():
        check.__name__ = name  # type: ignore[attr-defined]
    return tests | {check.__name__: check for check in NUMBERS}


def main(names: list[str]) -> int:
    """All checks, or those named; what is not measured is short."""
    known = checks()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such check: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    report = Report("cluster")
    for name, check in known.items():
        if not names or name in names:
            report.run(check)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
