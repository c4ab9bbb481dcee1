"""The admin service on loopback, with a cell in memory."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from actors.config import ClassifierConfig
from cluster.admin import service
from cluster.admin.access import token_sum
from cluster.admin.control import NodeState, Refused, RolloutState
from cluster.admin.service import serve
from cluster.config import AdminConfig
from tamis.admin.v1 import admin_service_pb2 as pb
from tamis.admin.v1 import cell_pb2
from tamis.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.certificates import Authority
from tests.cluster.admin.fake_cell import FakeCell, one_more_replaced, with_node, without_work
from wire.tls import TlsConfig, read_credentials

pytestmark = pytest.mark.live
VIEWER = "viewer-" + "0123456789abcdef" * 3
OPERATOR = "operator-" + "0123456789abcdef" * 3
TOKENS = f"web viewer {token_sum(VIEWER)}\nops operator {token_sum(OPERATOR)}\n"
CALLS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["AdminService"].methods}
SOUTH = "a1b2ffffff"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def ask(stub: AdminServiceStub, call: str, request: object | None = None, **options: Any) -> list[Any]:
    """All responses to a call. Raises grpc.aio.AioRpcError."""
    answer = getattr(stub, call)(request or getattr(pb, f"{call}Request")(), timeout=10, **options)
    return [one async for one in answer] if CALLS[call].server_streaming else [await answer]


async def refusal(stub: AdminServiceStub, call: str, request: object | None = None, **options: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(stub, call, request, **options)
    return caught.value.code().name, caught.value.details() or ""


@asynccontextmanager
async def admin(cell: FakeCell, folder: Path) -> AsyncIterator[AdminServiceStub]:
    tokens = folder / "tokens"
    tokens.write_text(TOKENS)
    server, port = await serve(cell, AdminConfig(listen="127.0.0.1:0", tokens=str(tokens)), TlsConfig())
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield AdminServiceStub(channel)
    finally:
        await server.stop(None)


@pytest.fixture(autouse=True)
def watch_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_WATCH_EVERY_S", 0.01)


@pytest.mark.parametrize("call", sorted(CALLS))
async def test_no_call_is_answered_without_a_token(call: str, tmp_path: Path) -> None:
    cell = FakeCell()
    before = cell.now
    async with admin(cell, tmp_path) as stub:
        code, text = await refusal(stub, call)
    assert code == "UNAUTHENTICATED"
    assert "authorization" in text
    assert (cell.now, cell.changes) == (before, [])


@pytest.mark.parametrize("call", sorted(set(CALLS) - {"GetStatus", "WatchRollout"}))
async def test_a_viewer_changes_nothing(call: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cell = FakeCell()
    before = cell.now
    async with admin(cell, tmp_path) as stub:
        code, text = await refusal(stub, call, metadata=bearer(VIEWER))
    needed = "teacher" if call == "Learn" else "operator"
    assert (code, text) == ("PERMISSION_DENIED", f"web is a viewer; {call} is for the role {needed}")
    assert (cell.now, cell.changes) == (before, [])
    assert f"admin_role_refused call={call} name=web" in caplog.text
    assert VIEWER not in caplog.text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"Bearer {OPERATOR[:-1]}x", "nobody has this token"),
        ("Bearer short", "the token has not the form of one"),
        (f"Basic {OPERATOR}", "the token has not the form of one"),
        (OPERATOR, "the token has not the form of one"),
        (f"Bearer {'x' * 600}", "the token has not the form of one"),
    ],
)
async def test_a_wrong_token_is_told_apart_but_never_repeated(
    value: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with admin(FakeCell(), tmp_path) as stub:
        assert await refusal(stub, "GetStatus", metadata=(("authorization", value),)) == ("UNAUTHENTICATED", why)
    assert "admin_token_refused call=GetStatus peer=ipv4:127.0.0.1:" in caplog.text
    assert value.rsplit(maxsplit=1)[-1] not in caplog.text


async def test_wrong_tokens_are_limited_and_a_good_one_is_taken_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with admin(FakeCell(), tmp_path) as stub:
        codes = [(await refusal(stub, "Drain", metadata=bearer("x" * 40)))[0] for _ in range(20)]
        (answer,) = await ask(stub, "GetStatus", metadata=bearer(VIEWER))
    assert codes == ["UNAUTHENTICATED"] * 5 + ["RESOURCE_EXHAUSTED"] * 15
    assert answer.cell.ready
    assert caplog.text.count("admin_token_refused") == 5


async def test_without_a_usable_file_nobody_is_let_in(tmp_path: Path) -> None:
    async with admin(FakeCell(), tmp_path) as stub:
        await ask(stub, "GetStatus", metadata=bearer(OPERATOR))
        (tmp_path / "tokens").write_text(TOKENS + "oops\n")
        assert (await refusal(stub, "GetStatus", metadata=bearer(OPERATOR)))[0] == "UNAUTHENTICATED"
        (tmp_path / "tokens").unlink()
        assert (await refusal(stub, "GetStatus", metadata=bearer(OPERATOR)))[0] == "UNAUTHENTICATED"


async def test_the_status_is_the_report_with_the_release(tmp_path: Path) -> None:
    async with admin(FakeCell(), tmp_path) as stub:
        (answer,) = await ask(stub, "GetStatus", metadata=bearer(VIEWER))
    assert answer.release
    assert [node.name for node in answer.cell.nodes] == ["north", "south"]


async def test_a_drain_is_shown_until_nothing_is_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        cell.steps = [lambda report: report, without_work]
        answers = await ask(stub, "Drain", metadata=bearer(OPERATOR))
        assert [(answer.transactions, answer.drained) for answer in answers] == [(2, False), (0, True)]
        assert cell.now.draining
        await ask(stub, "Resume", metadata=bearer(OPERATOR))
    assert not cell.now.draining
    assert "admin_call call=Drain name=ops peer=" in caplog.text


async def test_a_drain_that_somebody_else_takes_back_says_so(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        cell.steps = [lambda report: report, lambda report: dataclasses.replace(report, draining=False)]
        assert await refusal(stub, "Drain", metadata=bearer(OPERATOR)) == ("FAILED_PRECONDITION", "resumed meanwhile")


async def test_a_client_that_leaves_does_not_stop_the_drain(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        call = stub.Drain(pb.DrainRequest(), metadata=bearer(OPERATOR))
        await call.read()
        call.cancel()
        await asyncio.sleep(0.05)
        assert cell.now.draining
        (answer,) = await ask(stub, "GetStatus", metadata=bearer(OPERATOR))
    assert answer.cell.draining


async def test_a_node_is_drained_until_nothing_runs_there(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:

        def drained(report: Any) -> Any:
            kept = tuple(process for process in report.processes if process.node != SOUTH)
            return with_node(dataclasses.replace(report, processes=kept), SOUTH, NodeState.DRAINED)

        cell.steps = [lambda report: report, lambda report: report, drained]
        answers = await ask(stub, "DrainNode", pb.DrainNodeRequest(node="south"), metadata=bearer(OPERATOR))
        assert [(answer.node.state, answer.processes, answer.outstanding) for answer in answers] == [
            (cell_pb2.NODE_STATE_DRAINING, 1, 5),
            (cell_pb2.NODE_STATE_DRAINED, 0, 0),
        ]
        (answer,) = await ask(stub, "ResumeNode", pb.ResumeNodeRequest(node="south"), metadata=bearer(OPERATOR))
    assert answer.node.state == cell_pb2.NODE_STATE_UP


async def test_an_unknown_node_is_not_found(tmp_path: Path) -> None:
    async with admin(FakeCell(), tmp_path) as stub:
        for call in ("DrainNode", "ResumeNode"):
            request = getattr(pb, f"{call}Request")(node="west")
            code, text = await refusal(stub, call, request, metadata=bearer(OPERATOR))
            assert code == "NOT_FOUND"
            assert text == "no node 'west'; there are: north (a1b2c3d4e5), south (a1b2ffffff)"


async def test_a_reload_with_a_mistake_touches_nothing(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        request = pb.ReloadRequest(config=b"[dns]\ntimeout_s = 'soon'\n")
        code, text = await refusal(stub, "Reload", request, metadata=bearer(OPERATOR))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("config:2: ")
    assert not cell.changes


async def test_a_reload_that_names_a_file_that_is_not_there_touches_nothing(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        request = pb.ReloadRequest(config=b"[classifier]\nmodel = '/nowhere.model'\n")
        code, text = await refusal(stub, "Reload", request, metadata=bearer(OPERATOR))
    assert (code, text) == ("INVALID_ARGUMENT", "[classifier] model: /nowhere.model is no file")
    assert not cell.changes


async def test_a_reload_becomes_a_rollout_and_is_watched_to_its_end(tmp_path: Path) -> None:
    cell = FakeCell()
    model = tmp_path / "model"
    model.touch()
    async with admin(cell, tmp_path) as stub:
        config = f"[classifier]\nmodel = '{model}'\n[trace]\nslow_ms = 7\n".encode()
        request = pb.ReloadRequest(config=config, why="new\nmodel")
        (answer,) = await ask(stub, "Reload", request, metadata=bearer(OPERATOR))
        assert (answer.generation, list(answer.needs_restart)) == (4, ["[trace] slow_ms"])
        (change,) = cell.changes
        assert change.why == "new model (by ops)"
        assert change.judgement is not None
        assert change.judgement.classifier == ClassifierConfig(model=str(model))
        cell.steps = [one_more_replaced] * 2
        watched = await ask(stub, "WatchRollout", metadata=bearer(VIEWER))
    assert [(one.rollout.replaced, one.rollout.total, one.rollout.state) for one in watched] == [
        (1, 2, cell_pb2.ROLLOUT_STATE_RUNNING),
        (2, 2, cell_pb2.ROLLOUT_STATE_DONE),
    ]


async def test_a_reload_of_what_runs_begins_nothing(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        (answer,) = await ask(stub, "Reload", metadata=bearer(OPERATOR))
    assert answer.generation == 0
    assert not cell.changes


async def test_a_rollout_while_one_runs_is_refused(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        (answer,) = await ask(stub, "StartRollout", metadata=bearer(OPERATOR))
        assert answer.generation == 4
        assert cell.changes[0].why == "rollout (by ops)"
        refused = await refusal(stub, "StartRollout", metadata=bearer(OPERATOR))
        assert refused == ("FAILED_PRECONDITION", "rollout 4 runs")
        await ask(stub, "StopRollout", metadata=bearer(OPERATOR))
        assert cell.now.rollout is not None
        assert cell.now.rollout.state is RolloutState.STOPPED
        refused = await refusal(stub, "StopRollout", metadata=bearer(OPERATOR))
        assert refused == ("FAILED_PRECONDITION", "no rollout runs")
        (answer,) = await ask(stub, "RollBack", metadata=bearer(OPERATOR))
    assert answer.generation == 5


async def test_what_fails_inside_is_one_line_without_its_text(tmp_path: Path) -> None:
    cell = FakeCell()
    async with admin(cell, tmp_path) as stub:
        cell.fails = ValueError("redis://:secret@host")
        refused = await refusal(stub, "GetStatus", metadata=bearer(VIEWER))
        assert refused == ("INTERNAL", "ValueError: see the supervisor's log")
        cell.fails = Refused("not\ud800 now")
        assert await refusal(stub, "GetStatus", metadata=bearer(VIEWER)) == ("FAILED_PRECONDITION", "not? now")


async def test_a_supervisor_that_is_busy_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_CALL_MAX_S", 0.05)
    cell = FakeCell()

    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(cell, "report", never)
    async with admin(cell, tmp_path) as stub:
        code, text = await refusal(stub, "GetStatus", metadata=bearer(VIEWER))
    assert (code, text) == ("UNAVAILABLE", "the supervisor is busy: no answer in 0.05 s")


async def test_off_loopback_a_certificate_is_asked_for_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, stranger = Authority(), Authority("stranger")
    server_files = authority.issue(tmp_path / "server", "supervisor")
    client_files = authority.issue(tmp_path / "client", "ops")
    stranger_files = stranger.issue(tmp_path / "stranger", "nobody")
    authority.write(stranger_files)
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS)
    monkeypatch.setattr(service, "on_loopback", lambda _host: False)
    server, port = await serve(FakeCell(), AdminConfig(listen="127.0.0.1:0", tokens=str(tokens)), server_files)

    async def try_with(files: TlsConfig | None) -> str:
        if files is None:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        else:
            read = read_credentials(files)
            credentials = grpc.ssl_channel_credentials(read.authority, read.key, read.certificate)
            channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)
        async with channel:
            try:
                await AdminServiceStub(channel).GetStatus(
                    pb.GetStatusRequest(), timeout=5, metadata=bearer(OPERATOR) if files is client_files else ()
                )
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return "OK"

    try:
        assert await try_with(client_files) == "OK"
        assert await try_with(server_files) == "UNAUTHENTICATED", "a certificate alone is not enough"
        assert await try_with(stranger_files) == "UNAVAILABLE"
        assert await try_with(None) == "UNAVAILABLE"
    finally:
        await server.stop(None)


async def test_a_port_that_is_taken_is_an_os_error(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS)
    server, port = await serve(FakeCell(), AdminConfig(listen="127.0.0.1:0", tokens=str(tokens)), TlsConfig())
    try:
        with pytest.raises(OSError, match="cannot be bound"):
            await serve(FakeCell(), AdminConfig(listen=f"127.0.0.1:{port}", tokens=str(tokens)), TlsConfig())
    finally:
        await server.stop(None)


async def test_serving_goes_on_trying_until_the_port_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_BIND_AGAIN_S", 0.02)
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS)
    first, port = await serve(FakeCell(), AdminConfig(listen="127.0.0.1:0", tokens=str(tokens)), TlsConfig())
    told: list[str] = []
    config = AdminConfig(listen=f"127.0.0.1:{port}", tokens=str(tokens))
    serving = asyncio.create_task(service.keep_serving(FakeCell(), config, TlsConfig(), told.append))
    await asyncio.sleep(0.1)
    assert told[0] == f"[cluster.admin] listen: 127.0.0.1:{port} cannot be bound"
    await first.stop(None)
    while told[-1]:  # noqa: ASYNC110  the port is tried again and again
        await asyncio.sleep(0.01)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await ask(AdminServiceStub(channel), "GetStatus", metadata=bearer(VIEWER))
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    again, _ = await serve(FakeCell(), config, TlsConfig())
    await again.stop(None)


async def test_without_an_address_nothing_is_served() -> None:
    complaints: list[str] = []
    await service.keep_serving(FakeCell(), AdminConfig(listen=""), TlsConfig(), complaints.append)
    assert complaints == []
