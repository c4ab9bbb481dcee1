"""`make accept-auth`: the numbers and the bad input of authentication, with the real components started here.

Usage: python -m tests.acceptance.auth [CHECK...]. Exit code 1 when any line is `short`; at most 12 minutes. With names
of checks or groups only these run, and all other lines are short.
"""

import sys
from collections.abc import Callable

from tests.acceptance.auth_numbers import cpu, sign_cpu
from tests.acceptance.auth_rows import BAD_INPUT, CORPORA, INTEROP, NAMES, VERIFY
from tests.acceptance.auth_signing_rows import CELL, REPORTING, ROTATION, SIGN
from tests.acceptance.pytests import run_rows
from tests.acceptance.report import Report
from tests.acceptance.rows import Group

WITHIN_S = 710.0
"""What is not done by then is short."""

GROUPS = (CORPORA, INTEROP, VERIFY, NAMES, SIGN, REPORTING, BAD_INPUT, CELL, ROTATION)

Check = Callable[[Report], None]


def check_of(group: Group) -> Check:
    """The tests of this group in one call."""

    def check(report: Report) -> None:
        run_rows(report, group.rows, group.timeout_s)

    check.__name__ = group.name
    return check


def checks() -> dict[str, Check]:
    """All checks by name, in the order in which they run: CPU time first, with nothing beside it."""
    return {check.__name__: check for check in (cpu, sign_cpu)} | {group.name: check_of(group) for group in GROUPS}


def main(names: list[str]) -> int:
    """All checks, or those named; what is not measured is short."""
    known = checks()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such check: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    report = Report("auth", WITHIN_S)
    for name in names or known:
        report.run(known[name])
    return report.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
