"""What the acceptance runs share: checks made of groups of rows, and which checks run."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tests.acceptance.pytests import run_rows
from tests.acceptance.report import Report
from tests.acceptance.rows import Group

Check = Callable[[Report], None]


def check_of(*groups: Group) -> Check:
    """The tests of these groups in one call, within the time of the first."""
    check = partial(run_rows, rows=[row for group in groups for row in group.rows], timeout_s=groups[0].timeout_s)
    check.__name__ = "+".join(group.name for group in groups)  # type: ignore[attr-defined]
    return check


def run_chosen(report: Report, checks: Mapping[str, Check], names: Sequence[str], run_all: Check) -> int:
    """All checks, or those named, and the exit code; what is not measured is short."""
    unknown = [name for name in names if name not in checks]
    if unknown:
        print(f"no such check: {', '.join(unknown)}; there are {', '.join(checks)}", file=sys.stderr)
        return 2
    if names:
        for name in names:
            report.run(checks[name])
    else:
        run_all(report)
    return report.finish()
