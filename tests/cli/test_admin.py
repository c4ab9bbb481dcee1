"""`tamis status`, `drain`, `node`, `reload` and `rollout` against a cell in memory behind the real admin service."""

import asyncio
import contextlib
import dataclasses
import json
import socket
import stat
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.__main__ import main
from cli.admin_files import check_tokens, with_admin
from cluster.admin import service
from cluster.admin.access import Role, read_tokens, token_sum
from cluster.admin.control import NodeState
from cluster.config import AdminConfig, ClusterConfig
from tests.cli.admin_cell import Served, served
from tests.cluster.admin.fake_cell import with_node, without_work
from wire.config import ConfigError

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("in_a_clean_place")]
SOUTH = "a1b2ffffff"


def test_the_run_directory_holds_address_and_tokens_for_its_owner_alone(tmp_path: Path) -> None:
    with contextlib.ExitStack() as parts:
        config = with_admin(ClusterConfig(admin=AdminConfig(listen="127.0.0.1:0")), tmp_path, parts)
        folder = tmp_path / "admin"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {path.name for path in folder.iterdir()} == {
            "address",
            "tokens",
            *(f"{role.name.lower()}.token" for role in Role),
        }
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert (folder / "address").read_text().strip() == config.admin.listen
        assert not config.admin.listen.endswith(":0")
        principals = read_tokens(Path(config.admin.tokens))
        assert {principal.role for principal in principals} == set(Role)
        sums = {token_sum((folder / f"{name}.token").read_text().strip()) for name in ("operator", "teacher", "viewer")}
        assert {principal.token_sum for principal in principals} == sums
    assert not folder.exists()


def test_tokens_of_the_operator_are_checked_before_anything_starts(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ops operator oops\n")
    with pytest.raises(ConfigError, match=r"\[cluster.admin\] tokens: .*tokens: line 1: the sum is not"):
        check_tokens(AdminConfig(tokens=str(tokens)))
    with pytest.raises(ConfigError, match="No such file"):
        check_tokens(AdminConfig(tokens=str(tmp_path / "none")))
    with contextlib.ExitStack() as parts:
        config = with_admin(ClusterConfig(admin=AdminConfig(tokens=str(tokens))), tmp_path, parts)
        assert config.admin.tokens == str(tokens)
        assert not (tmp_path / "admin" / "operator.token").exists()


def test_the_status_shows_all_there_is(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    up.cell.now = dataclasses.replace(
        up.cell.now, problems={"dkim-1": "OSError: \x1b[31mno room", "policy": "see [cluster.labels]"}
    )
    assert up.tamis("status") == 0
    text = capsys.readouterr().out
    for expected in (
        "cell ready, generation 3, settings 0badcafe, Tamis ",
        "rollout to generation 3 done, 4 of 4 processes replaced: reload (by ops)",
        "worker-0",
        "dkim policy",
        "10.0.0.2:4711",
        "80 MB",
        "60 min",
        "0f1e2d3c",
        "queue delay 40 ms",
        "tamis_ingress_refused",
        "OSError: ?[31mno room",
        "see [cluster.labels]",
    ):
        assert expected in text
    assert "\x1b" not in text


def test_a_cell_that_is_not_ready_is_exit_code_1(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    up.cell.now = dataclasses.replace(up.cell.now, ready=False, draining=True)
    assert up.tamis("status") == 1
    assert "cell not ready, draining," in capsys.readouterr().out


def test_the_status_as_json_has_the_names_of_the_proto(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert up.tamis("status", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    cell = json.loads(line)["cell"]
    assert cell["processes"][1]["actors"] == ["dkim", "policy"]
    assert cell["processes"][1]["state"] == "up"
    assert cell["processes"][1]["problem"] == ""
    assert cell["draining"] is False
    assert cell["processes"][0]["memory_bytes"] == 80 << 20
    assert cell["counters"] == {"tamis_ingress_refused": 7}


def test_watching_goes_on_until_it_is_interrupted(
    up: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def interrupt(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("cli.status.time.sleep", interrupt)
    assert up.tamis("status", "--watch", "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_viewer_looks_and_changes_nothing(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    token = ("--token-file", str(up.run_dir / "admin" / "viewer.token"))
    assert up.tamis("status", *token) == 0
    assert up.tamis("drain", *token) == 4
    assert "viewer is a viewer; Drain is for the role operator" in capsys.readouterr().err
    assert not up.cell.now.draining


def test_the_token_file_may_come_from_the_environment(up: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = up.run_dir / "admin" / "viewer.token"
    moved = viewer.rename(up.run_dir / "mine")
    monkeypatch.setenv("TAMIS_ADMIN_TOKEN_FILE", str(moved))
    assert up.tamis("drain") == 4
    assert up.tamis("status") == 0


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        ("0" * 64, 0o600, "nobody has this token"),
        ("short", 0o600, "not one line with a token"),
        ("", 0o600, "not one line with a token"),
        ("0" * 40 + "\n" + "1" * 40, 0o600, "not one line with a token"),
        ("\udcff" * 64, 0o600, "not one line with a token"),
        ("0" * 64, 0o644, "others can read this token; chmod 600"),
        (None, 0, "No such file"),
    ],
)
def test_a_wrong_token_is_one_line_without_it_and_exit_code_4(
    up: Served, capsys: pytest.CaptureFixture[str], content: str | None, mode: int, complaint: str
) -> None:
    path = up.run_dir / "token"
    if content is not None:
        path.write_text(content, errors="surrogateescape")
        path.chmod(mode)
    assert up.tamis("status", "--token-file", str(path)) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert "000000" not in line


def test_without_any_token_the_line_says_where_to_put_one(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    (up.run_dir / "admin" / "operator.token").unlink()
    assert up.tamis("status") == 4
    assert "does `tamis up` run? else say --run-dir or --token-file" in capsys.readouterr().err


def test_a_supervisor_that_is_away_is_exit_code_3_after_a_bounded_wait(
    up: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        started_s = time.monotonic()
        assert up.tamis("status", "--address", address, "--timeout-s", "0.5") == 3
    assert time.monotonic() - started_s < 5
    assert f"no supervisor at {address} answered within 0.5 s; does `tamis up` run?" in capsys.readouterr().err


def test_a_port_of_somebody_else_is_told(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    async def serve_nothing() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(serve_nothing(), up.loop).result(10)
    assert up.tamis("status", "--address", f"127.0.0.1:{port}") == 1
    assert "knows no GetStatus: it is no admin service of Tamis" in capsys.readouterr().err
    asyncio.run_coroutine_threadsafe(server.stop(None), up.loop).result(10)


def test_a_release_without_the_call_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "version", lambda _name: "9.9.9")

    async def later(_self: object, _request: object, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    monkeypatch.setattr(service.AdminServicer, "Resume", later)
    with served(tmp_path) as up:
        assert up.tamis("drain", "--undo") == 1
        assert "knows no Resume: it runs Tamis 9.9.9, this is " in capsys.readouterr().err
        assert up.tamis("status") == 0
        assert "Tamis 9.9.9 (this is " in capsys.readouterr().out


def test_a_drain_is_shown_to_its_end_and_undone(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    up.cell.steps = [lambda report: report] * 3 + [without_work]
    assert up.tamis("drain") == 0
    assert capsys.readouterr().out.splitlines() == [
        "transactions over: 0 of 2",
        "transactions over: 2 of 2",
        "drained",
    ]
    assert up.cell.now.draining
    assert up.tamis("drain", "--undo") == 0
    assert not up.cell.now.draining


def test_a_drain_that_takes_too_long_is_exit_code_1_and_goes_on(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert up.tamis("drain", "--within-s", "0") == 1
    assert "2 transactions are open; the drain goes on" in capsys.readouterr().err
    assert up.cell.now.draining
    assert up.tamis("drain", "--no-wait") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "draining"


def test_a_node_is_drained_listed_and_resumed(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    up.cell.steps = [
        lambda report: report,
        lambda report: report,
        lambda report: report,
        lambda report: with_node(dataclasses.replace(report, processes=report.processes[:1]), SOUTH, NodeState.DRAINED),
    ]
    assert up.tamis("node", "drain", "south", "--wait") == 0
    assert capsys.readouterr().out.splitlines() == [
        "processes moved from south (5 tasks open): 0 of 1",
        "processes moved from south (0 tasks open): 1 of 1",
        "drained",
    ]
    assert up.tamis("node", "list") == 0
    assert "drained" in capsys.readouterr().out
    assert up.tamis("node", "list", "--json") == 0
    assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == [
        "up",
        "drained",
    ]
    assert up.tamis("node", "drain", "--undo", "south") == 0
    assert "south takes work" in capsys.readouterr().out


def test_an_unknown_node_is_told_with_those_there_are(up: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert up.tamis("node", "drain", "east") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "tamis node drain: no node 'east'; there are: north (a1b2c3d4e5), south (a1b2ffffff)"


def test_off_loopback_needs_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o600)
    with pytest.raises(SystemExit) as ended:
        main(["status", "--address", "10.0.0.1:11335", "--token-file", str(token)])
    assert ended.value.code == 2
    assert "10.0.0.1:11335 is not on loopback: that needs --config with [cluster.tls]" in capsys.readouterr().err


def test_the_commands_are_listed_with_their_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["rollout", "--help"], ["node", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code
    text = capsys.readouterr().out
    assert all(verb in text for verb in ("start", "status", "stop", "back", "list", "drain"))
