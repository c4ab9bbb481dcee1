"""Acceptance lines that are tests: one pytest call for a group of rows, its report read back row by row.

A row is `ok` when every test that it names ran and passed; one that failed, was skipped or is not there makes it short.
"""

import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.report import Report

PROJECT = Path(__file__).resolve().parents[2]
TEARDOWN_S = 30.0
"""For fixtures to stop what they have started, once there is no time for their tests."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its name, and `FILE`, `FILE::TEST` or `FILE::TEST[CASE]` of everything that proves it."""

    name: str
    tests: tuple[str, ...]
    bound: str = "passed"
    """What the tests hold, as it is told beside the figure."""

    @property
    def command(self) -> str:
        """What anyone can type."""
        return "pytest " + " ".join(self.tests)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the report."""

    module: str
    name: str
    outcome: str
    """passed, failed or skipped."""
    figure: str = ""
    """What the test says of itself with `record_property("figure", ...)`."""

    def belongs_to(self, test: str) -> bool:
        """Whether `FILE`, `FILE::TEST` or `FILE::TEST[CASE]` names it."""
        file, _, function = test.partition("::")
        # The name of a class stands behind that of its module.
        if not f"{self.module}.".startswith(f"{file.removesuffix('.py').replace('/', '.')}."):
            return False
        return not function or function in (self.name, self.name.partition("[")[0])


def run_rows(report: Report, rows: Sequence[Row], timeout_s: float) -> None:
    """Run the tests of all rows in one call, and report each row."""
    cases = run_tests([test for row in rows for test in row.tests], report.time_s(timeout_s))
    for row in rows:
        figure, ok = judge(row, cases)
        report.result(row.name, figure, row.bound, row.command, ok=ok)


def judge(row: Row, cases: Sequence[Case]) -> tuple[str, bool]:
    """The figure of a row, and whether it is well."""
    missing = [test for test in row.tests if not any(case.belongs_to(test) for case in cases)]
    own = [case for case in cases if any(case.belongs_to(test) for test in row.tests)]
    wrong = [case for case in own if case.outcome != "passed"]
    if not row.tests:
        return "no_test_named", False
    if missing:
        return f"missing_{missing[0].rpartition('::')[2]}", False
    if wrong:
        return f"{len(wrong)}_of_{len(own)}_{wrong[0].outcome}", False
    figures = [case.figure for case in own if case.figure]
    return "_".join(figures) or f"{len(own)}_passed", True


def run_tests(tests: Sequence[str], timeout_s: float) -> list[Case]:
    """What became of these tests; those that are not there, or come too late, are not in the list."""
    files = sorted({test.partition("::")[0] for test in tests})
    there = [file for file in files if (PROJECT / file).exists()]
    # Words, not node ids: one test that is not there would end the whole call.
    words = sorted({test.partition("::")[2].partition("[")[0] or Path(test).stem for test in tests})
    if not there:
        return []
    with tempfile.TemporaryDirectory(prefix="tamis-accept-", dir="/tmp") as directory:
        xml = Path(directory) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={xml}"]
        command += ["-k", " or ".join(words), *there]
        returncode, output = run_interruptibly(command, timeout_s)
        if returncode:
            print(output[-3000:], file=sys.stderr, flush=True)
        return read_report(xml) if xml.exists() else []


def run_interruptibly(command: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Exit code and output of a pytest, interrupted when it takes too long: its fixtures stop what they started."""
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                output, _ = process.communicate(timeout=TEARDOWN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        return process.returncode, output


def read_report(xml: Path) -> list[Case]:
    """The cases of a junit file that our own pytest wrote."""
    cases = []
    for element in ET.parse(xml).iter("testcase"):  # noqa: S314
        kinds = {child.tag for child in element}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        figure = element.find("properties/property[@name='figure']")
        said = "" if figure is None else figure.get("value", "")
        cases.append(Case(element.get("classname", ""), element.get("name", ""), outcome, said))
    return cases
