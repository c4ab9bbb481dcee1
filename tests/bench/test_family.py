"""bench/family.py: who is left of a program that has ended."""

import subprocess
import sys

import pytest

from bench.family import Family

PARENT = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"


@pytest.mark.live
def test_a_child_that_outlives_its_parent_is_named_and_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        child = int(parent.stdout.readline())
        family = Family(parent.pid)
        assert len(family) == 2
        parent.stdin.close()
        parent.wait()
        assert family.left(0.1) == [f"sleep ({child})"]
        assert family.left(1.0) == []


@pytest.mark.live
def test_nobody_is_left_of_a_program_that_ended_well() -> None:
    with subprocess.Popen(["true"]) as program:
        family = Family(program.pid)
    assert family.left(1.0) == []
