"""actors/adapters/rotation_command.py: arguments as they are, no environment, bounded output, bounded time."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from actors.adapters.rotation_command import Command
from actors.adapters.zone_fragment import ZoneFragments
from actors.dkim.rotation.ports import RotationError

pytestmark = pytest.mark.live

NAME = "s._domainkey.example.org"


def command(code: str, timeout_s: float = 30.0) -> Command:
    return Command((sys.executable, "-c", code), timeout_s)


def test_it_gets_action_name_and_record_as_they_are_and_no_environment_of_ours() -> None:
    shown = command("import json, os, sys; print(json.dumps([sys.argv[1:], sorted(os.environ)]))")
    record = "v=DKIM1; p=$(touch /tmp/x) `id` \"'"
    arguments, environment = json.loads(asyncio.run(shown.publish("example.org", NAME, record)))
    assert arguments == ["publish", NAME, record]
    assert set(environment) <= {"PATH", "LANG", "LC_CTYPE"}
    assert json.loads(asyncio.run(shown.remove("example.org", NAME)))[0] == ["remove", NAME, ""]
    assert json.loads(asyncio.run(shown.revoke("example.org", NAME, "v=DKIM1; p=")))[0][0] == "revoke"


def test_another_exit_code_than_0_is_a_failure_with_its_output() -> None:
    with pytest.raises(RotationError, match=r"exit code 3: no such zone"):
        asyncio.run(command("print('no such zone'); raise SystemExit(3)").remove("example.org", NAME))
    with pytest.raises(OSError, match="No such file"):
        asyncio.run(Command(("/nonexistent",), 1.0).remove("example.org", NAME))


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); os.fork(); time.sleep(600)"
    with pytest.raises(RotationError, match="killed after 1 s"):
        asyncio.run(command(code, 1.0).remove("example.org", NAME))
    group = int((tmp_path / "pid").read_text())
    # A machine with much to do takes its time to end what was killed; who inherited it may not bury it at all.
    left = [one for one in psutil.process_iter() if os.getpgid(one.pid) == group]
    until_s = time.monotonic() + 10
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in left):
        assert time.monotonic() < until_s, "not killed"
        time.sleep(0.01)


def test_of_a_long_output_the_beginning_is_kept() -> None:
    kept = asyncio.run(command("print('x' * 10_000_000)").remove("example.org", NAME))
    assert kept == "x" * 2048


def test_a_zone_file_is_written_before_the_command_that_loads_it_is_run(tmp_path: Path) -> None:
    fragment = tmp_path / "example.org"
    load = (sys.executable, "-c", f"print(open({str(fragment)!r}).read().count('_domainkey'))")
    both = Command(load, 30.0, ZoneFragments(str(tmp_path / "{domain}"), 60))
    assert asyncio.run(both.publish("example.org", NAME, "v=DKIM1; p=AA==")) == f"{fragment}; 1"
    assert asyncio.run(both.remove("example.org", NAME)) == f"{fragment}; 0"
