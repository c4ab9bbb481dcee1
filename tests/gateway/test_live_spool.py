"""Large mail from many sessions at once, more than memory may hold, through a real process and a real disk."""

import asyncio
import os
import subprocess
import sys
import zlib
from pathlib import Path

import psutil
import pytest

from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tests.gateway.fake_ingress import FakeIngress, Heard, silent, verdict
from tests.gateway.mta import Mail
from tests.gateway.test_live import UNAVAILABLE, gateway, ingress_of
from wire.milter import events as ev

pytestmark = pytest.mark.live

MEBIBYTE = 1024 * 1024
LARGE_BYTES = 50_000_000
SESSIONS = 20


class Weighing(FakeIngress):
    """Keeps checksums instead of bodies."""

    def __init__(self) -> None:
        super().__init__(silent)
        self.bytes: dict[int, int] = {}
        self.checksums: dict[int, int] = {}

    def _body(self, heard: Heard, piece: bytes) -> filter_pb.Answer | None:
        answer = super()._body(heard, piece)
        heard.body.clear()
        self.bytes[heard.number] = self.bytes.get(heard.number, 0) + len(piece)
        self.checksums[heard.number] = zlib.crc32(piece, self.checksums.get(heard.number, 0))
        return answer


@pytest.mark.timeout(300)
async def test_twenty_mails_of_50_mb_at_once_get_their_verdicts_in_bounded_memory(run_dir: Path) -> None:
    fake = Weighing()
    body = os.urandom(LARGE_BYTES)
    settings = (
        f"message_bytes_max = 60_000_000\nheld_bytes_max = {128 * MEBIBYTE}\nend_of_message_budget_s = 200\n"
        f'[gateway.spool]\ndirectory = "{run_dir}"\nbytes_max = {2048 * MEBIBYTE}\n'
    )
    async with ingress_of(fake) as target:
        with gateway(run_dir, target, settings=settings) as running:
            process = psutil.Process(running.process.pid)
            before_bytes = process.memory_info().rss
            mtas = [await running.connect() for _ in range(SESSIONS)]
            for mta in mtas:
                await mta.open()
            playing = [asyncio.create_task(mta.message(Mail(body=body))) for mta in mtas]
            most_bytes = 0
            while sum(heard.end is not None for heard in fake.open.values()) < SESSIONS:
                most_bytes = max(most_bytes, process.memory_info().rss)
                assert not any(task.done() for task in playing)
                await asyncio.sleep(0.05)
            bystander = await running.connect()
            await bystander.open()
            for number in list(fake.open):
                fake.push(verdict()(fake.open[number]))
            assert {type(heard.final) for heard in await asyncio.gather(*playing)} == {ev.Accept}
            assert set(fake.bytes.values()) == {LARGE_BYTES}
            assert set(fake.checksums.values()) == {zlib.crc32(body)}
            assert fake.faults == []
            assert most_bytes - before_bytes < 256 * MEBIBYTE
            assert running.lines("spool_failed") == []


async def test_mail_on_disk_is_lost_with_the_process_and_its_file_too(run_dir: Path) -> None:
    spool = run_dir / "spool"
    await asyncio.to_thread(spool.mkdir)
    settings = (
        f'message_bytes_max = {4 * MEBIBYTE}\nheld_bytes_max = {4 * MEBIBYTE}\n[gateway.spool]\ndirectory = "{spool}"\n'
    )
    async with ingress_of(FakeIngress(silent)) as target:
        with gateway(run_dir, target, settings=settings) as running:
            mta = await running.connect()
            await mta.open()
            playing = asyncio.create_task(mta.message(Mail(body=b"x" * (4 * MEBIBYTE - 10_000))))
            async with asyncio.timeout(10):
                while "tamis_gateway_spool_bytes 0.0" in (await asyncio.to_thread(running.get, "/metrics"))[1]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            assert not any(spool.iterdir())
            running.process.kill()
            with pytest.raises((EOFError, ConnectionError)):
                await playing
            assert not any(spool.iterdir())


async def test_a_spool_that_is_full_is_the_overload_policy(run_dir: Path) -> None:
    settings = (
        f"message_bytes_max = {4 * MEBIBYTE}\nheld_bytes_max = {4 * MEBIBYTE}\n"
        f'[gateway.spool]\ndirectory = "{run_dir}"\nbytes_max = {MEBIBYTE}\n'
    )
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target, settings=settings) as running:
            mta = await running.connect()
            await mta.open()
            large = Mail(body=b"x" * (4 * MEBIBYTE - 10_000))
            assert (await mta.message(large)).final == UNAVAILABLE
            assert (await mta.message(Mail())).final == ev.Accept()
            assert [line["why"] for line in running.lines("spool_failed")] == ["the spool is full"]


async def test_a_spool_directory_that_is_not_there_is_a_mistake_of_the_operator(run_dir: Path) -> None:
    settings = '[gateway.spool]\ndirectory = "/nowhere"\n'
    missing = pytest.raises(AssertionError, match="directory /nowhere: No such file or directory")
    with missing, gateway(run_dir, "127.0.0.1:1", settings=settings):
        pass


def test_a_process_ends_while_the_disk_hangs() -> None:
    hang = "import asyncio, time; from gateway.spool import Spool, SpoolConfig\n"
    hang += "async def main(): Spool(SpoolConfig()).run(lambda: time.sleep(600)); await asyncio.sleep(0.1)\n"
    subprocess.run([sys.executable, "-c", hang + "asyncio.run(main())"], check=True, timeout=20)
