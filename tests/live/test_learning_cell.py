"""`tamis learn` on a whole `tamis up`: what is taught weighs in within seconds, and is still there after a kill."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.samples import SampleMaker
from bench.stack import Stack
from tests.conftest import PROJECT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(420)]
MAIL = (
    b"From: Carla <carla@example.org>\r\nTo: dev@example.net\r\nSubject: Re: build broken on Debian\r\n"
    b"In-Reply-To: <a1@example.net>\r\nReferences: <a1@example.net>\r\n\r\n"
    b"On Thu, Bernd wrote:\r\n> does it compile for you?\r\n\r\nIt did after I applied your patch to the Makefile.\r\n"
)


@pytest.fixture(scope="module")
def cell() -> Iterator[Stack]:
    with Stack(SampleMaker().zone()) as stack:
        yield stack


def tamis(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)


def probability(cell: Stack, file: Path) -> float:
    done = tamis("scan", "--json", "--to", cell.ready["grpc"], str(file))
    assert done.returncode == 0, done.stderr
    (finding,) = [one for one in json.loads(done.stdout)["findings"] if one["actor"] == "classifier"]
    return float(finding["score"])


def test_what_is_taught_weighs_in_within_seconds_and_outlives_its_process(cell: Stack, tmp_path: Path) -> None:
    file = tmp_path / "mail"
    file.write_bytes(MAIL)
    before = probability(cell, file)
    done = tamis("learn", "--spam", str(file), "--run-dir", str(cell.run_dir))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 accepted"), done.stderr
    time.sleep(5)
    learnt = probability(cell, file)
    assert before < 0.1
    assert learnt > 0.9
    again = tamis("learn", "--spam", str(file), "--run-dir", str(cell.run_dir))
    assert again.stdout.splitlines()[-1] == "1 known"
    family = psutil.Process(cell.pid).children(recursive=True)
    hosts = [process for process in family if "HostProcess" in " ".join(process.cmdline())]
    assert hosts
    for process in hosts:
        process.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 60
    while True:
        try:
            if probability(cell, file) == pytest.approx(learnt, abs=1e-3):
                break
        except (AssertionError, ValueError):
            pass
        assert time.monotonic() < deadline_s
        time.sleep(1)
