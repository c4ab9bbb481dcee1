"""`tamis reload` and `rollout` against a cell in memory behind the real admin service."""

import asyncio
import dataclasses
import json
import threading
import time
from pathlib import Path

import grpc
import pytest

from cluster.admin import service
from cluster.admin.control import RolloutState
from tests.cli.admin_cell import Served, served
from tests.cluster.admin.fake_cell import one_more_replaced

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("in_a_clean_place")]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_reload_with_a_mistake_is_its_line_and_reason_and_touches_nothing(
    up: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(up.run_dir / "tamis.toml", "[dns]\ntimeout_s = 'soon'\n")
    assert up.tamis("reload", "--config", config) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tamis reload: {config}:2: ")
    config = write(up.run_dir / "tamis.toml", "[gateway]\nlistne = 'inet:1'\n")
    assert up.tamis("reload", "--config", config) == 2
    assert "unknown key `listne`" in capsys.readouterr().err
    assert up.tamis("reload", "--config", str(up.run_dir / "none")) == 2
    assert not up.cell.changes


ADMIN = '[cluster.admin]\nlisten = "127.0.0.1:0"\n'


def test_a_reload_is_shown_to_the_end_of_its_rollout(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(up.run_dir / "tamis.toml", ADMIN + "[dns]\ntimeout_s = 1.5\n[trace]\nslow_ms = 7\n")
    up.cell.steps = [lambda report: report, *[one_more_replaced] * 2]
    assert up.tamis("reload", "--config", config, "--why", "faster") == 0
    assert capsys.readouterr().out.splitlines() == [
        "[trace] slow_ms holds only from the next start of the cell on",
        "processes of generation 4: 1 of 2",
        "processes of generation 4: 2 of 2",
        "rollout to generation 4 done, 2 of 2 processes replaced: faster (by operator)",
    ]
    (change,) = up.cell.changes
    assert change.judgement is not None
    assert change.judgement.dns.timeout_s == 1.5


def test_a_reload_of_the_same_file_does_nothing(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert up.tamis("reload", "--config", write(up.run_dir / "tamis.toml", ADMIN)) == 0
    assert "nothing to do: the cell has the settings " in capsys.readouterr().out


def test_new_sizes_of_pools_alone_are_no_rollout(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(up.run_dir / "tamis.toml", ADMIN + "[cluster.pools]\npolicy = 2\n")
    assert up.tamis("reload", "--config", config) == 0
    assert capsys.readouterr().out.splitlines() == ["pools get their new sizes: `tamis status` shows how far they are"]
    (change,) = up.cell.changes
    assert change.judgement is None
    assert change.pools is not None
    assert change.pools.policy == 2


def test_a_rollout_is_begun_refused_twice_stopped_and_taken_back(
    up: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert up.tamis("rollout", "start", "--no-wait") == 0
    assert "rollout to generation 4 begun" in capsys.readouterr().out
    assert up.tamis("rollout", "start") == 1
    assert "tamis rollout start: rollout 4 runs" in capsys.readouterr().err
    assert up.tamis("rollout", "status") == 0
    assert "rollout to generation 4 running, 0 of 2 processes replaced" in capsys.readouterr().out
    assert up.tamis("rollout", "stop") == 0
    assert "stopped" in capsys.readouterr().out
    assert up.tamis("rollout", "stop") == 1
    assert up.tamis("rollout", "status") == 1
    up.cell.steps = [one_more_replaced] * 2
    assert up.tamis("rollout", "back") == 0
    assert "rollout to generation 5 done" in capsys.readouterr().out
    assert up.tamis("rollout", "status", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["generation"] == 5


def test_a_rollout_says_what_others_wait_for(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    def watched(report: service.CellReport) -> service.CellReport:
        assert report.rollout is not None
        return dataclasses.replace(report, rollout=dataclasses.replace(report.rollout, watching="worker-0.4 for 5 s"))

    def over(report: service.CellReport) -> service.CellReport:
        assert report.rollout is not None
        return dataclasses.replace(report, rollout=dataclasses.replace(report.rollout, watching=""))

    up.cell.steps = [watched, watched, over, one_more_replaced, one_more_replaced]
    assert up.tamis("rollout", "start") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "worker-0.4 for 5 s: 0 of 2"
    assert told[-1].startswith("rollout to generation 4 done")


def test_a_rollout_that_stops_by_itself_is_exit_code_1_with_the_reason(
    up: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(report: service.CellReport) -> service.CellReport:
        assert report.rollout is not None
        rollout = dataclasses.replace(report.rollout, state=RolloutState.STOPPED, problem="worker-0.4: ValueError")
        return dataclasses.replace(report, rollout=rollout)

    up.cell.steps = [one_more_replaced, broken]
    assert up.tamis("rollout", "start") == 1
    told = capsys.readouterr()
    assert "1 of 2 processes replaced: rollout (by operator); worker-0.4: ValueError" in told.out
    assert "`tamis rollout back` returns to what was before" in told.err


def test_progress_goes_on_when_the_supervisor_is_restarted_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path) as up:
        cell, admin = up.cell, up.admin
        server: list[grpc.aio.Server] = []

        async def restart() -> None:
            # The port of a server that has gone is free for the next at once, as for a process that died.
            await asyncio.sleep(0.3)
            found, _ = await service.serve(cell, admin, service.TlsConfig())
            server.append(found)
            cell.steps = [one_more_replaced] * 2

        def die() -> None:
            time.sleep(0.5)
            asyncio.run_coroutine_threadsafe(up.server.stop(None), up.loop).result(10)
            asyncio.run_coroutine_threadsafe(restart(), up.loop).result(10)

        dying = threading.Thread(target=die)
        dying.start()
        assert up.tamis("rollout", "start") == 0
        dying.join()
        asyncio.run_coroutine_threadsafe(server[0].stop(None), up.loop).result(10)
    assert "rollout to generation 4 done" in capsys.readouterr().out
