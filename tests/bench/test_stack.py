"""bench/stack.py: how a run ended is told as it was."""

import subprocess
import sys

import pytest

from bench import stack as module
from bench.family import Family
from bench.stack import Stack

STUBBORN = (
    "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "subprocess.Popen(['sleep', '60']); print('up', flush=True); signal.pause()"
)


@pytest.mark.live
def test_a_program_that_took_sigkill_and_what_it_left_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "LEFT_GRACE_KILLED_S", 0.1)
    stack = Stack({})
    stack.run_dir.rmdir()
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as program:
        stack._up, stack._family = program, Family(program.pid)
        assert program.stdout
        assert program.stdout.readline() == b"up\n"
        stack.stop_up()
    assert stack.processes == 2
    killed, left = stack.ending.split("; ")
    assert "was killed" in killed
    assert left.startswith("left running: sleep (")


def test_an_end_without_a_beginning_is_no_complaint() -> None:
    stack = Stack({})
    stack.run_dir.rmdir()
    stack.stop_up()
    assert stack.ending == ""
