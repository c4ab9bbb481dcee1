"""Mutual TLS between gateway and ingress, with the ingress's own credentials and certificates made here."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import msgspec
import pytest

from bench.nameserver import Nameserver
from cluster.tls import server_credentials
from gateway.config import GatewayConfig
from gateway.link import Link
from gateway.metrics import Metrics
from gateway.wiring import link_settings
from tamis.filter.v1 import filter_service_pb2_grpc as filter_grpc
from tamis.filter.v1 import verdict_pb2 as pb
from tests.certificates import Authority
from tests.gateway.fake_ingress import FakeIngress, serve, silent, verdict
from tests.gateway.linked import judged, transaction
from tests.gateway.mta import Mail
from tests.gateway.rig import LogLines
from tests.gateway.test_live import UNAVAILABLE, eventually, gateway, start_command
from wire.milter import events as ev
from wire.stream import CHANNEL_OPTIONS
from wire.tls import TlsConfig

pytestmark = pytest.mark.live


def settings_of(tls: TlsConfig) -> str:
    return f'[gateway.tls]\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\nauthority = "{tls.authority}"\n'


@asynccontextmanager
async def encrypted(fake: FakeIngress, tls: TlsConfig) -> AsyncIterator[str]:
    server, target = await serve(fake, credentials=server_credentials(tls))
    yield target
    await server.stop(None)


async def test_a_message_goes_through_mutual_tls(run_dir: Path) -> None:
    authority = Authority()
    async with encrypted(FakeIngress(), authority.issue(run_dir / "ingress", "ingress")) as target:
        with gateway(run_dir, target, settings=settings_of(authority.issue(run_dir / "gateway", "gateway"))) as running:
            mta = await running.connect()
            await mta.open()
            assert (await mta.message(Mail(body=b"x" * 300_000))).final == ev.Accept()


@pytest.mark.parametrize("stranger", ["ingress", "gateway"])
async def test_a_certificate_of_another_authority_is_refused(stranger: str, run_dir: Path) -> None:
    ours, theirs = Authority(), Authority("stranger")
    sides = {side: ours.issue(run_dir / side, side) for side in ("ingress", "gateway")}
    foreign = theirs.issue(run_dir / "stranger", "stranger")
    # The stranger trusts us, so that it is we who refuse.
    ours.write(foreign)
    sides[stranger] = foreign
    fake = FakeIngress()
    async with encrypted(fake, sides["ingress"]) as target:
        settings = "ingress_budget_s = 1.0\n" + settings_of(sides["gateway"])
        with gateway(run_dir, target, settings=settings) as running:
            mta = await running.connect()
            await mta.open()
            assert (await mta.message(Mail())).recipients == [UNAVAILABLE]
            await eventually(lambda: running.lines("ingress_lost"), 15)
            why = str(running.lines("ingress_lost")[0]["why"]).lower()
            assert "certificate_verify_failed" in why if stranger == "ingress" else "unavailable" in why
            assert fake.begun == 0


async def test_a_client_without_a_certificate_is_refused(run_dir: Path) -> None:
    authority = Authority()
    fake = FakeIngress()
    async with encrypted(fake, authority.issue(run_dir / "ingress", "ingress")) as target:
        for channel in (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authority.pem), options=CHANNEL_OPTIONS),
            grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS),
        ):
            async with channel:
                call = filter_grpc.FilterServiceStub(channel).Filter()
                with pytest.raises(grpc.aio.AioRpcError):
                    await call.read()
        assert fake.begun == 0


async def test_certificates_of_both_ends_rotate_without_a_dropped_transaction(run_dir: Path, lines: LogLines) -> None:
    """Even to another authority, by way of one file that holds both."""
    old, new = Authority("old"), Authority("new")
    ingress = old.issue(run_dir / "ingress", "ingress")
    own = old.issue(run_dir / "gateway", "gateway")
    fake = FakeIngress(silent)
    async with encrypted(fake, ingress) as target:
        config = GatewayConfig(ingress=(target,), tls=own)
        link = Link(link_settings(config), Metrics())
        link.start()
        await eventually(lambda: link.ready)
        under_way = asyncio.create_task(judged(link.open(transaction(b"r@recipient.example"))))
        await eventually(lambda: any(heard.end for heard in fake.open.values()))
        tell_the_first_stream = fake.push
        for side, tls in (("ingress", ingress), ("gateway", own)):
            new.issue(run_dir / side, side)
            old.write(tls, new)
        link.reload(link_settings(config))
        await eventually(lambda: len(lines.of("ingress_connected")) == 2)
        for tls in (ingress, own):
            new.write(tls)
        link.reload(link_settings(config))
        await eventually(lambda: len(lines.of("ingress_connected")) == 3)
        (heard,) = fake.open.values()
        fake.judge = verdict()
        assert isinstance(await link.open(transaction()).verdict(), pb.Verdict)
        assert not under_way.done()
        tell_the_first_stream(verdict()(heard))
        assert isinstance(await under_way, pb.Verdict)
        # A gateway that still shows its old certificate has no way in any more.
        stale = msgspec.structs.replace(config, tls=old.issue(run_dir / "late", "late"))
        late = Link(link_settings(stale), Metrics())
        late.start()
        await asyncio.sleep(1.0)
        assert not late.ready
        await late.close()
        await link.close()


async def test_ingresses_are_found_by_srv_records_and_followed(run_dir: Path) -> None:
    authority = Authority()
    first, second = FakeIngress(), FakeIngress()
    tls = authority.issue(run_dir / "ingress", "ingress")
    async with encrypted(first, tls) as one, encrypted(second, tls) as two:
        ports = [target.rpartition(":")[2] for target in (one, two)]
        zone = {("_tamis._tcp.north.example", "SRV"): [f"0 1 {ports[0]} localhost."]}
        nameserver = Nameserver(zone, ttl_s=1)
        asked = f"127.0.0.1:{await nameserver.start()}"
        settings = f'nameservers = ["{asked}"]\n' + settings_of(authority.issue(run_dir / "gateway", "gateway"))
        with gateway(run_dir, "srv:_tamis._tcp.north.example", settings=settings) as running:
            mta = await running.connect()
            await mta.open()
            assert (await mta.message(Mail())).final == ev.Accept()
            zone["_tamis._tcp.north.example", "SRV"] = [f"0 1 {ports[1]} localhost."]
            await eventually(lambda: len(running.lines("ingress_connected")) == 2, 10)
            await mta.say(ev.Abort())
            assert (await mta.message(Mail())).final == ev.Accept()
            assert (len(first.judged), len(second.judged)) == (1, 1)
        nameserver.stop()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("ingress = ['192.0.2.1:11333']\n", "192.0.2.1:11333 is not on loopback: that needs [gateway.tls]"),
        (
            "tls = {certificate = 'RUN/none', key = 'RUN/none', authority = 'RUN/none'}",
            "`certificate` RUN/none: No such",
        ),
        (
            "tls = {certificate = 'RUN/a/certificate.pem', key = 'RUN/b/key.pem', authority = 'RUN/a/ca.pem'}",
            "mismatch",
        ),
    ],
)
async def test_a_gateway_with_unfit_tls_settings_does_not_start(settings: str, complaint: str, run_dir: Path) -> None:
    authority = Authority()
    authority.issue(run_dir / "a", "a")
    authority.issue(run_dir / "b", "b")
    command = start_command(run_dir, "[gateway]\n" + settings.replace("RUN", str(run_dir)))
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=10, check=False)
    assert ended.returncode == 2
    assert complaint.replace("RUN", str(run_dir)) in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "BEGIN" not in ended.stderr
