"""cli/channel.py: how commands reach an ingress."""

import asyncio
import json
import sys
from pathlib import Path

import grpc
import pytest

from cli.channel import channel_credentials, first_ingress
from cluster.tls import server_credentials
from gateway.cells import CellConfig
from gateway.config import GatewayConfig
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import filter_service_pb2_grpc as filter_grpc
from tamis.filter.v1 import verdict_pb2 as pb
from tests.certificates import Authority
from wire.config import ConfigError
from wire.tls import TlsConfig


@pytest.mark.parametrize(
    ("address", "complaint"),
    [("192.0.2.1:1", "not on loopback"), ("mx.example:1", "not on loopback"), ("mx", "host:port")],
)
def test_plaintext_is_for_loopback_alone(address: str, complaint: str) -> None:
    assert channel_credentials("127.0.0.1:1", TlsConfig()) is None
    with pytest.raises(ConfigError, match=complaint):
        channel_credentials(address, TlsConfig())


def test_files_that_cannot_be_used_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^\[gateway.tls\]: tls: `certificate` /none: No such file or directory$"):
        channel_credentials("127.0.0.1:1", TlsConfig(certificate="/none", key="/none", authority="/none"))


def test_the_first_ingress_that_is_listed_is_asked() -> None:
    tls = TlsConfig(certificate="c", key="k", authority="a")
    north, south = CellConfig(name="n", ingress=("srv:n",)), CellConfig(name="s", ingress=("mx.example:1",))
    assert first_ingress(GatewayConfig(cells=(north, south), tls=tls)) == "mx.example:1"
    with pytest.raises(ConfigError, match="srv: name"):
        first_ingress(GatewayConfig(cells=(north,), tls=tls))


class Scanner(filter_grpc.FilterServiceServicer):
    async def Scan(  # noqa: N802
        self, _request: filter_pb.ScanRequest, _context: object
    ) -> filter_pb.ScanResponse:
        return filter_pb.ScanResponse(verdict=pb.Verdict(action=pb.ACTION_ACCEPT, score=1.5))


@pytest.mark.live
async def test_scan_takes_the_tls_settings_of_the_gateway(run_dir: Path) -> None:
    authority = Authority()
    server = grpc.aio.server()
    filter_grpc.add_FilterServiceServicer_to_server(Scanner(), server)
    credentials = server_credentials(authority.issue(run_dir / "ingress", "ingress"))
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    own = authority.issue(run_dir / "own", "own")
    config, mail = run_dir / "tamis.toml", run_dir / "mail"
    tls = f'[gateway.tls]\ncertificate = "{own.certificate}"\nkey = "{own.key}"\nauthority = "{own.authority}"\n'
    config.write_text(f'[gateway]\ningress = ["{target}"]\n{tls}')
    mail.write_text("Subject: hello\n\nhello\n")
    command = [sys.executable, "-m", "cli", "scan", "--json", "--config", str(config), str(mail)]
    scanning = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await asyncio.wait_for(scanning.communicate(), 30)
    await server.stop(None)
    assert json.loads(told)["score"] == 1.5
