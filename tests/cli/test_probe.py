"""cli/probe.py: when a cell counts as ready, step by step."""

from collections.abc import Sequence

import pytest

from actors.model import ErrorKind, Finding, Outcome, error_finding
from cli.probe import Probe, ProbeFailed

CLEAN = Finding("antivirus", "yara", Outcome.CLEAN)
CLAMD_AWAY = error_finding("antivirus", "clamav", ErrorKind.UNREACHABLE, "127.0.0.1:1: cannot connect")
NO_REPLICA = error_finding("antivirus", "antivirus", ErrorKind.UNREACHABLE, "no replica within 2 s")
LATE = error_finding("dkim", "dkim", ErrorKind.TIMEOUT, "message")


class Cell:
    """Answers each look with the next of a script."""

    def __init__(self, *script: Sequence[Finding] | Exception) -> None:
        self._script = list(script)
        self.questions = 0

    def ask(self) -> "Cell":
        self.questions += 1
        return self

    def findings(self, timeout_s: float) -> Sequence[Finding]:  # noqa: ARG002  it never waits
        answer = self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def steps(cell: Cell, count: int) -> tuple[list[bool], list[str]]:
    said: list[str] = []
    probe = Probe(cell.ask, said.append)
    return [probe.step(0.0) for _ in range(count)], said


def test_it_is_ready_when_every_actor_answered() -> None:
    assert steps(Cell([CLEAN]), 1) == ([True], [])


def test_an_actor_without_its_service_is_ready_and_says_so_once() -> None:
    ready, said = steps(Cell([CLEAN, CLAMD_AWAY]), 1)
    assert ready == [True]
    (line,) = said
    assert "antivirus: unreachable: 127.0.0.1:1: cannot connect" in line


@pytest.mark.parametrize("trouble", [NO_REPLICA, LATE])
def test_an_actor_that_did_not_answer_is_not_ready(trouble: Finding) -> None:
    ready, said = steps(Cell([trouble], [trouble], [CLAMD_AWAY, trouble], [CLEAN]), 4)
    assert ready == [False, False, False, True]
    (line,) = said
    assert f"{trouble.actor}: {trouble.detail}" in line


def test_a_slow_answer_is_waited_for_over_several_steps_without_another_question() -> None:
    cell = Cell(TimeoutError(), TimeoutError(), [CLEAN])
    assert steps(cell, 3) == ([False, False, True], [])
    assert cell.questions == 1


def test_no_verdict_is_said_once_and_asked_again() -> None:
    cell = Cell(ProbeFailed("x:1: refused"), ProbeFailed("x:1: refused"), [CLEAN])
    assert steps(cell, 3) == ([False, False, True], ["not ready yet, a probe message says: x:1: refused"])
    assert cell.questions == 3
