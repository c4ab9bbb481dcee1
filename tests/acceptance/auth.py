"""`make accept-auth`: the numbers and the bad input of authentication, with the real components started here.

Usage: python -m tests.acceptance.auth [CHECK...]. Exit code 1 when any line is `short`; at most 12 minutes. With names
of checks or groups only these run, and all other lines are short.
"""

import sys

from tests.acceptance.auth_numbers import cpu, sign_cpu
from tests.acceptance.auth_rows import BAD_INPUT, CORPORA, INTEROP, NAMES, VERIFY
from tests.acceptance.auth_signing_rows import CELL, REPORTING, ROTATION, SIGN
from tests.acceptance.chosen import Check, check_of, run_chosen
from tests.acceptance.report import Report

WITHIN_S = 710.0
"""What is not done by then is short."""

GROUPS = (CORPORA, INTEROP, VERIFY, NAMES, SIGN, REPORTING, BAD_INPUT, CELL, ROTATION)


def checks() -> dict[str, Check]:
    """All checks by name, in the order in which they run: CPU time first, with nothing beside it."""
    return {check.__name__: check for check in (cpu, sign_cpu)} | {group.name: check_of(group) for group in GROUPS}


def run_all(report: Report) -> None:
    """One after the other."""
    for check in checks().values():
        report.run(check)


def main(names: list[str]) -> int:
    """All checks, or those named; what is not measured is short."""
    return run_chosen(Report("auth", WITHIN_S), checks(), names, run_all)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
