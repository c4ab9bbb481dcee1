"""bench/release.py: whose code a process ran."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.release import PROJECT, environment, imported


@pytest.mark.live
@pytest.mark.parametrize("ours", [True, False])
def test_what_was_imported_from_where_is_told_by_the_bytecode(tmp_path: Path, *, ours: bool) -> None:
    other = tmp_path / "tree"
    (other / "wire").mkdir(parents=True)
    (other / "wire" / "__init__.py").touch()
    bytecode = tmp_path / "bytecode"
    env = environment(PROJECT if ours else other, bytecode)
    subprocess.run([sys.executable, "-c", "import wire"], env=env, cwd=tmp_path, check=True)
    assert imported(PROJECT, bytecode) == ({"wire"} if ours else set())
    assert imported(other, bytecode) == (set() if ours else {"wire"})
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert env["PATH"] == os.environ["PATH"]
