from cli.gaps import Gaps


def test_what_is_missing_for_a_while_is_told_once_and_so_is_its_return() -> None:
    gaps = Gaps({})
    problem = {"policy-0": "OSError: no room"}
    assert gaps.lines(problem, 0.0) == []
    assert gaps.lines(problem, 4.0) == []
    assert gaps.lines(problem, 5.0) == ["policy-0 is missing: OSError: no room"]
    assert gaps.lines(problem, 6.0) == []
    assert gaps.lines({**problem, "dkim-0": "died"}, 7.0) == []
    assert gaps.lines({"dkim-0": "died"}, 8.0) == ["policy-0 is there"]
    assert gaps.lines({"dkim-0": "died"}, 12.0) == ["dkim-0 is missing: died"]
    assert gaps.lines({"dkim-0": "died again"}, 13.0) == ["dkim-0 is missing: died again"]
    assert gaps.lines({}, 14.0) == ["dkim-0 is there"]


def test_a_restart_is_not_worth_a_line() -> None:
    gaps = Gaps({})
    assert gaps.lines({"dkim-0": "died"}, 0.0) == []
    assert gaps.lines({}, 1.0) == []
    assert gaps.lines({"dkim-0": "died"}, 5.0) == []


def test_what_was_told_at_the_start_is_not_told_again() -> None:
    gaps = Gaps({"dkim": "no node"})
    assert gaps.lines({"dkim": "no node"}, 0.0) == []
    assert gaps.lines({"dkim": "no node"}, 9.0) == []
    assert gaps.lines({}, 10.0) == ["dkim is there"]
