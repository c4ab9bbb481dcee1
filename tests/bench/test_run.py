"""bench/run.py: a load that failed is seen as such."""

import subprocess

import pytest

from bench.run import figures_of


def ended(code: int, stdout: str, stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, stdout, stderr)


def test_the_last_line_is_the_figures() -> None:
    assert figures_of(ended(0, 'warming up\n{"messages": 3}\n')) == {"messages": 3}


def test_messages_without_an_answer_are_figures_too_and_what_was_said_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert figures_of(ended(1, '{"unanswered": 2}\n', "two were late\n")) == {"unanswered": 2}
    assert "two were late" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "stdout"), [(1, ""), (-9, '{"messages": 1}\n'), (2, "")])
def test_a_load_that_broke_ends_the_run_and_says_why(
    code: int, stdout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="no figures"):
        figures_of(ended(code, stdout, "Traceback: no mail found\n"))
    assert "no mail found" in capsys.readouterr().err
