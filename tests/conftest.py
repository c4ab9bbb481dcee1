"""Fixtures of all tests: unit tests cannot open sockets, start Ray or sleep; live tests say so with a marker.

A service that is missing skips the test at home with the reason, and fails it in CI.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

PROJECT = Path(__file__).resolve().parent.parent
LIVE_MARKERS = ("live", "ray", "postfix")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip at home; in CI a test that cannot run is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"cannot be skipped in CI: {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def forbid_the_outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests are deterministic: no sockets, no sleeping, no Ray."""
    if any(request.node.get_closest_marker(name) for name in LIVE_MARKERS):
        return

    def forbidden(*_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError("a unit test must not do this; mark the test `live` if it is meant to")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket.socket, "bind", forbidden)
    monkeypatch.setattr(time, "sleep", forbidden)
    monkeypatch.setenv("RAY_ADDRESS", "unit-tests-must-not-start-ray:1")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The unpacked test material (TAMIS_CORPORA, or ../shared/data unpacked into .test-data)."""
    given = os.environ.get("TAMIS_CORPORA")
    if given:
        return Path(given)
    unpack = PROJECT.parent / "shared" / "data" / "unpack"
    if not unpack.exists():
        # Also in CI: the material is not part of the project, a clone elsewhere cannot have it.
        pytest.skip(f"no corpora: {unpack} does not exist and TAMIS_CORPORA is not set")
    target = PROJECT / ".test-data"
    target.mkdir(exist_ok=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Of two pytest processes one unpacks and one waits.
        subprocess.run([str(unpack), str(target)], check=True)
    return target


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short directory for unix sockets and Ray's temporary files (their paths are limited to 107 bytes)."""
    path = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
