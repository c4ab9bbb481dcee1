"""The unit files: what systemd says of them, and a restart by a real one."""

import asyncio
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.addresses import free_port
from gateway.bounds import SessionBounds
from gateway.config import GatewayConfig
from tests.gateway import real_systemd
from tests.gateway.fake_ingress import FakeIngress, serve
from tests.gateway.mta import Mail, Mta
from wire.milter import events as ev

pytestmark = pytest.mark.live

PROJECT = Path(__file__).resolve().parents[2]
UNITS = PROJECT / "gateway" / "systemd"
EXPOSURE_MAX = 3.0
NOT_IN_A_USER_INSTANCE = (
    *("DynamicUser", "User", "StateDirectory", "OOMScoreAdjust"),
    # Mounts that it may not make; the tests' own files are below /tmp and /root besides.
    *("PrivateTmp", "PrivateUsers", "PrivateDevices", "ProtectHome", "ProtectProc", "ProcSubset"),
    *("ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelTunables"),
)


def unit(name: str) -> str:
    return (UNITS / name).read_text()


def settings(name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit(name).splitlines() if "=" in line and not line.startswith("#"))


@pytest.fixture
def copies(run_dir: Path) -> list[str]:
    """The units with a command that exists here."""
    for name in ("tamis-gateway.service", "tamis-gateway.socket"):
        (run_dir / name).write_text(unit(name).replace("/usr/bin/tamis-gateway", "/bin/true"))
    return [str(run_dir / name) for name in ("tamis-gateway.service", "tamis-gateway.socket")]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing_to_complain_about(copies: list[str]) -> None:
    run = subprocess.run(["systemd-analyze", "verify", *copies], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_service_is_exposed_to_little(copies: list[str]) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--json=off", "--no-pager", copies[0]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    *_, exposure, _, _ = run.stdout.strip().splitlines()[-1].split()
    assert float(exposure) <= EXPOSURE_MAX


def test_the_store_has_room_for_all_sessions_and_the_stop_for_the_drain() -> None:
    service = settings("tamis-gateway.service")
    config = GatewayConfig()
    assert service["Environment"] == f"FDSTORE={service['FileDescriptorStoreMax']}"
    assert int(service["FileDescriptorStoreMax"]) > SessionBounds(config.sessions_max, 1.0, math.inf).served_max + 1
    assert int(service["LimitNOFILE"]) > config.sessions_max + 256
    assert float(service["TimeoutStopSec"].removesuffix("s")) > config.drain_s


@pytest.mark.skipif(bool(real_systemd.why_not()), reason=real_systemd.why_not())
async def test_a_real_systemd_restarts_the_unit_without_losing_a_session(run_dir: Path) -> None:
    fake = FakeIngress()
    server, target = await serve(fake)
    port = free_port()
    config = run_dir / "tamis.toml"
    config.write_text(f'[gateway]\ningress = ["{target}"]\nops_listen = ""\n')
    command = f"{sys.executable} -m gateway --config {config}"
    service = "\n".join(
        line for line in unit("tamis-gateway.service").splitlines() if line.split("=")[0] not in NOT_IN_A_USER_INSTANCE
    )
    service = service.replace("/usr/bin/tamis-gateway --config /etc/tamis/tamis.toml", command)
    service = service.replace("[Service]", f"[Service]\nWorkingDirectory={PROJECT}\nStandardError=append:{run_dir}/log")
    listen = unit("tamis-gateway.socket").replace("11332", str(port)).replace("/run/", f"{run_dir}/")
    listen = listen.replace("SocketGroup=postfix", "SocketGroup=root")
    with real_systemd.Systemd(run_dir, {"tamis-gateway.service": service, "tamis-gateway.socket": listen}) as systemd:
        await asyncio.to_thread(systemd.systemctl, "start tamis-gateway.socket")
        # The first connection starts the service.
        sessions = [await connect(port) for _ in range(5)]
        for number, mta in enumerate(sessions):
            await mta.open()
            if number % 2:
                await mta.envelope(Mail())
                mta.flush()
        for _ in range(3):
            await asyncio.to_thread(systemd.systemctl, "restart tamis-gateway.service")
        await asyncio.to_thread(systemd.systemctl, "reload tamis-gateway.service")
        status = await asyncio.to_thread(
            systemd.systemctl, "show --property=StatusText,NRestarts tamis-gateway.service"
        )
        assert "5 sessions" in status, status
        for number, mta in enumerate(sessions):
            if number % 2:
                await mta.content(Mail())
                assert await mta.final() == ev.Accept()
            assert (await mta.message(Mail())).final == ev.Accept()
        events = [json.loads(line) for line in (run_dir / "log").read_text().splitlines()]
        assert [line for line in events if line["event"] == "session_closed"] == []
        assert [line["sessions"] for line in events if line["event"] == "sessions_resumed"] == [5, 5, 5]
        assert [line["level"] for line in events if line["event"] == "reloaded"] == ["info"]
    await server.stop(None)


async def connect(port: int) -> Mta:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    mta = Mta(writer.write, lambda: reader.read(65_536))
    mta.writer = writer  # type: ignore[attr-defined]
    return mta
