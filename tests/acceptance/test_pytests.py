"""The acceptance lines that are tests: how a row is judged, and that every name is listed."""

import sys
from pathlib import Path

import pytest

from tests.acceptance import cluster_rows, rows
from tests.acceptance.pytests import Case, Row, judge, read_report, run_interruptibly, run_rows
from tests.acceptance.report import Report, listed_names

PASSED = Case("tests.a.test_x", "test_one[1]", "passed")
ALSO = Case("tests.a.test_x", "test_one[2]", "passed")
OTHER = Case("tests.a.test_x", "test_one_more", "failed")


@pytest.mark.parametrize(
    ("tests", "cases", "verdict"),
    [
        (("tests/a/test_x.py::test_one",), [PASSED, ALSO, OTHER], ("2_passed", True)),
        (("tests/a/test_x.py::test_one[2]",), [PASSED, ALSO, OTHER], ("1_passed", True)),
        (("tests/a/test_x.py::test_one[3]",), [PASSED, ALSO, OTHER], ("missing_test_one[3]", False)),
        (("tests/a/test_x.py",), [PASSED, ALSO, OTHER], ("1_of_3_failed", False)),
        (("tests/a/test_x.py",), [PASSED, Case("tests.a.test_x", "t", "passed", "7/8")], ("7/8", True)),
        (("tests/a/test_x.py",), [PASSED, Case("tests.a.test_x", "t", "skipped")], ("1_of_2_skipped", False)),
        (("tests/a/test_x.py", "tests/a/test_y.py"), [PASSED], ("missing_tests/a/test_y.py", False)),
        (("tests/a/test_x.py",), [Case("tests.a.test_x.TestMachine", "runTest", "passed")], ("1_passed", True)),
        (("tests/a/test_x.py",), [Case("tests.a.test_xy", "t", "passed")], ("missing_tests/a/test_x.py", False)),
        (("tests/a/test_x.py::test_two",), [PASSED], ("missing_test_two", False)),
        (("tests/a/test_x.py::test_one",), [], ("missing_test_one", False)),
        ((), [PASSED], ("no_test_named", False)),
    ],
)
def test_a_row_is_well_when_all_its_tests_ran_and_passed(
    tests: tuple[str, ...], cases: list[Case], verdict: tuple[str, bool]
) -> None:
    assert judge(Row("row", tests), cases) == verdict


def test_a_report_of_pytest_is_read(tmp_path: Path) -> None:
    xml = tmp_path / "junit.xml"
    xml.write_text(
        '<testsuites><testsuite><testcase classname="tests.a.test_x" name="test_one[1]" time="0"><properties>'
        '<property name="figure" value="7/8"/></properties></testcase>'
        '<testcase classname="tests.a.test_x" name="test_b"><failure message="m">text</failure></testcase>'
        '<testcase classname="tests.a.test_x" name="test_c"><skipped message="m"/></testcase></testsuite></testsuites>'
    )
    assert [(case.outcome, case.figure) for case in read_report(xml)] == [
        ("passed", "7/8"),
        ("failed", ""),
        ("skipped", ""),
    ]


def test_a_pytest_that_takes_too_long_stops_what_its_fixtures_have_started(tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text(
        "import pathlib, time, pytest\n"
        "@pytest.fixture\n"
        "def service():\n"
        f"    pathlib.Path({str(tmp_path / 'started')!r}).touch()\n"
        "    yield\n"
        f"    pathlib.Path({str(tmp_path / 'stopped')!r}).touch()\n"
        "def test_done(): pass\n"
        "def test_slow(service): time.sleep(600)\n"
    )
    xml = tmp_path / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={xml}", str(tmp_path)]
    returncode, _ = run_interruptibly([*command, f"--rootdir={tmp_path}", "-c", "/dev/null"], 8.0)
    assert returncode != 0
    assert (tmp_path / "stopped").exists() == (tmp_path / "started").exists()
    assert [(case.name, case.outcome) for case in read_report(xml)][:1] == [("test_done", "passed")]


@pytest.mark.parametrize(("topic", "groups"), [("gateway", rows.GROUPS), ("cluster", cluster_rows.GROUPS)])
def test_every_row_is_listed_once(topic: str, groups: tuple[rows.Group, ...]) -> None:
    names = [row.name for group in groups for row in group.rows]
    assert len(set(names)) == len(names)
    assert set(names) <= set(listed_names(topic))


@pytest.mark.live
def test_a_real_call_gives_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("gateway")
    here = "tests/acceptance/test_pytests.py"
    own = [
        Row("dialogs_codec", (f"{here}::test_every_row_is_listed_once",)),
        Row("dialogs_gateway", (f"{here}::test_that_is_not_there",)),
        Row("dialogs_postfix", ("tests/acceptance/test_of_no_file.py",)),
    ]
    run_rows(report, own, 60)
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        ["ok", "dialogs_codec", "2_passed"],
        ["short", "dialogs_gateway", "missing_test_that_is_not_there"],
        ["short", "dialogs_postfix", "missing_tests/acceptance/test_of_no_file.py"],
    ]
