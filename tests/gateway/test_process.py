"""What signals, limits and a service manager do to a gateway process."""

import asyncio
import grp
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.gateway.fake_ingress import FakeIngress, silent, verdict
from tests.gateway.mta import Mail, Mta
from tests.gateway.test_live import eventually, gateway, ingress_of, start_command
from tests.gateway.test_restarts import connect, lines, managed
from wire.milter import events as ev

pytestmark = pytest.mark.live

TOO_LARGE = ev.ReplyCode(b"552 5.3.4 Message is too big for the mail filter")


async def test_a_reload_holds_for_new_sessions_and_old_ones_finish_on_what_they_began_with(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target, settings="message_bytes_max = 1000\n") as running:
            old = await running.connect()
            await old.open()
            config = run_dir / "tamis.toml"
            config.write_text(config.read_text().replace("= 1000", "= 100").replace('"inet:0', '"inet:1'))
            running.process.send_signal(signal.SIGHUP)
            await eventually(lambda: running.lines("reloaded"))
            new = await running.connect()
            await new.open()
            body = b"x" * 500
            assert (await old.message(Mail(body=body))).final == ev.Accept()
            assert (await new.message(Mail(body=body))).final == TOO_LARGE
            assert running.lines("reload_needs_restart")[0]["keys"] == ["gateway.listen"]
            version = running.lines("reloaded")[0]["config_version"]
            assert version != running.lines("listening")[0]["config_version"]
            metrics = (await asyncio.to_thread(running.get, "/metrics"))[1]
            assert f'tamis_gateway_config_info{{version="{version}"}} 1.0' in metrics
            assert metrics.count("tamis_gateway_config_info{") == 1


async def test_a_broken_file_changes_nothing(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target) as running:
            (run_dir / "tamis.toml").write_text("[gateway]\nlisten_to = 5\n")
            running.process.send_signal(signal.SIGHUP)
            await eventually(lambda: running.lines("reload_failed"))
            assert "unknown key `listen_to`" in str(running.lines("reload_failed")[0]["why"])
            mta = await running.connect()
            await mta.open()
            assert (await mta.message(Mail())).final == ev.Accept()
            metrics = (await asyncio.to_thread(running.get, "/metrics"))[1]
            assert 'tamis_gateway_reloads_total{result="failed"} 1.0' in metrics


async def test_reloads_under_load_cost_nothing(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target) as running:
            over = asyncio.Event()

            async def client() -> set[type]:
                finals = set()
                while not over.is_set():
                    mta = await running.connect()
                    await mta.open()
                    finals |= {type((await mta.message(Mail())).final) for _ in range(5)}
                    await mta.say(ev.Quit())
                    mta.flush()
                return finals

            clients = [asyncio.create_task(client()) for _ in range(8)]
            for number in range(10):
                running.process.send_signal(signal.SIGHUP)
                await eventually(lambda wanted=number + 1: len(running.lines("reloaded")) == wanted)
            over.set()
            assert set().union(*await asyncio.gather(*clients)) == {ev.Accept}
            assert running.lines("session_closed") == []


async def test_a_second_sigterm_ends_at_once(run_dir: Path) -> None:
    fake = FakeIngress(silent)
    async with ingress_of(fake) as target:
        with gateway(run_dir, target) as running:
            mta = await running.connect()
            await mta.open()
            playing = asyncio.create_task(mta.message(Mail()))
            await eventually(lambda: any(heard.end for heard in fake.open.values()))
            running.process.send_signal(signal.SIGTERM)
            await eventually(lambda: running.lines("draining"))
            assert running.process.poll() is None
            running.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(running.process.wait, 2) == 0
            with pytest.raises((EOFError, ConnectionError)):
                await playing


def sessions_of(metrics: str) -> int:
    return int(float(metrics.split("\ntamis_gateway_sessions ")[1].split(maxsplit=1)[0]))


async def test_gateways_that_share_a_port_do_not_share_their_end(run_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    listen = f'"inet:{port}@127.0.0.1"'
    async with ingress_of(FakeIngress()) as target:
        (run_dir / "a").mkdir()
        (run_dir / "b").mkdir()
        shared = {"listen": listen, "settings": "reuse_port = true\n"}
        with gateway(run_dir / "a", target, **shared) as first, gateway(run_dir / "b", target, **shared) as second:
            mtas = [await first.connect() for _ in range(20)]
            for mta in mtas:
                await mta.open()
            counts = [sessions_of((await asyncio.to_thread(one.get, "/metrics"))[1]) for one in (first, second)]
            assert sum(counts) == 20
            assert min(counts) > 0
            first.process.kill()
            await asyncio.to_thread(first.process.wait)
            living = 0
            for mta in mtas:
                try:
                    living += (await mta.message(Mail())).final == ev.Accept()
                except (EOFError, ConnectionError):
                    continue
            assert living == counts[1]
            for _ in range(10):
                mta = await second.connect()
                await mta.open()
                assert (await mta.message(Mail())).final == ev.Accept()


async def test_a_process_that_may_open_no_more_files_takes_fewer_sessions_and_no_cpu(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with gateway(run_dir, target) as running:
            await eventually(lambda: running.lines("ingress_connected"))
            process = psutil.Process(running.process.pid)
            _, hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (process.num_fds() + 10, hard))
            mtas = [await running.connect() for _ in range(40)]
            before_s = sum(process.cpu_times()[:2])
            began_s = time.monotonic()
            await eventually(lambda: running.lines("sessions_bounded"), 10)
            await asyncio.sleep(1.0)
            assert sum(process.cpu_times()[:2]) - before_s < 0.5 * (time.monotonic() - began_s)
            assert len(running.log.read_text().splitlines()) < 80
            served = 0
            for mta in mtas:
                try:
                    await mta.open()
                    served += (await mta.message(Mail())).final == ev.Accept()
                except (EOFError, ConnectionError):
                    continue
            assert served > 0
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (10_000, hard))
            running.process.send_signal(signal.SIGHUP)
            await eventually(lambda: running.lines("reloaded"))
            mta = await running.connect()
            await mta.open()
            assert (await mta.message(Mail())).final == ev.Accept()


async def test_a_unix_socket_gets_its_group(run_dir: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    listen = f'"unix:{run_dir}/milter.sock"'
    with gateway(run_dir, "127.0.0.1:1", listen=listen, settings=f'socket_group = "{group}"\n'):
        assert (run_dir / "milter.sock").stat().st_gid == os.getgid()


def test_a_group_that_is_not_there_is_a_mistake_of_the_operator(run_dir: Path) -> None:
    config = f'[gateway]\nlisten = "unix:{run_dir}/milter.sock"\nsocket_group = "nobody-here"\n'
    run = subprocess.run(start_command(run_dir, config), capture_output=True, text=True, timeout=20, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "no group 'nobody-here'" in run.stderr


def test_show_config_prints_a_file_that_says_the_same(run_dir: Path) -> None:
    config = '[gateway]\nlog_level = "debug"\n[gateway.tenants]\n"a.example" = "a"\n[trace]\nslow_ms = 5\n'
    first = subprocess.run(
        [*start_command(run_dir, config), "--show-config"], capture_output=True, text=True, timeout=20, check=True
    )
    second = subprocess.run(
        [*start_command(run_dir, first.stdout), "--show-config"], capture_output=True, text=True, timeout=20, check=True
    )
    assert second.stdout == first.stdout
    assert 'log_level = "debug"' in first.stdout
    assert "slow_ms = 5" in first.stdout


async def test_an_event_loop_that_hangs_is_killed_and_replaced(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with managed(run_dir, target, watchdog_s=3.0) as service:
            await asyncio.sleep(4.0)
            assert service.exits == []
            service.signal(signal.SIGSTOP)
            await asyncio.to_thread(service.wait_ready, 2, 20)
            assert service.exits == [-signal.SIGABRT]
            mta = await connect(service)
            await mta.open()
            assert (await mta.message(Mail())).final == ev.Accept()


async def test_the_manager_hears_of_start_reload_and_stop(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with managed(run_dir, target) as service:
            service.signal(signal.SIGHUP)
            await asyncio.to_thread(service.wait_ready, 2)
            await asyncio.to_thread(service.restart)
            words = [said.partition("=")[0] for said in service.said]
            assert words[:2] == ["READY", "STATUS"]
            assert words.index("RELOADING") < words.index("MONOTONIC_USEC") < words.index("STOPPING")


async def test_a_unix_socket_of_the_manager_survives_restarts(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with managed(run_dir, target) as service:
            reader, writer = await asyncio.open_unix_connection(run_dir / "milter.sock")
            mta = Mta(writer.write, lambda: reader.read(65_536))
            await mta.open()
            await asyncio.to_thread(service.restart)
            assert (await mta.message(Mail())).final == ev.Accept()
            reader, writer = await asyncio.open_unix_connection(run_dir / "milter.sock")
            await Mta(writer.write, lambda: reader.read(65_536)).open()


async def test_what_does_not_fit_into_the_store_drains(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with managed(run_dir, target, stored_files_max=4) as service:
            mtas = [await connect(service) for _ in range(6)]
            for mta in mtas:
                await mta.open()
            await asyncio.to_thread(service.restart)
            alive = 0
            for mta in mtas:
                try:
                    alive += (await mta.message(Mail())).final == ev.Accept()
                except (EOFError, ConnectionError):
                    continue
            assert alive == int(str(lines(run_dir, "sessions_resumed")[0]["sessions"]))
            assert 2 <= alive <= 3
            assert {line["reason"] for line in lines(run_dir, "session_closed")} == {"drained"}


async def test_a_process_that_dies_takes_its_sessions_along_and_only_those(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with managed(run_dir, target) as service:
            mta = await connect(service)
            await mta.open()
            service.signal(signal.SIGKILL)
            waiting = await connect(service)
            await asyncio.to_thread(service.wait_ready, 2)
            with pytest.raises((EOFError, ConnectionError)):
                await mta.message(Mail())
            # It came while nobody was there, and waited with the manager.
            await waiting.open()
            assert (await waiting.message(Mail())).final == ev.Accept()


async def test_sockets_without_a_state_are_closed_with_a_line(run_dir: Path) -> None:
    async with ingress_of(FakeIngress()) as target:
        with managed(run_dir, target) as service:
            ours, theirs = socket.socketpair()
            service.store.append(("tamis", theirs.detach()))
            await asyncio.to_thread(service.restart)
            await asyncio.to_thread(ours.settimeout, 5)
            assert await asyncio.to_thread(ours.recv, 1) == b""
            assert [line["reason"] for line in lines(run_dir, "session_closed")] == ["not_resumed"]
            assert service.store == []
            ours.close()


async def test_mail_on_disk_and_amid_data_crosses_a_restart(run_dir: Path) -> None:
    fake = FakeIngress(verdict())
    settings = (
        "message_bytes_max = 4_000_000\nheld_bytes_max = 4_000_000\n"
        f'[gateway.spool]\ndirectory = "{run_dir}"\nbytes_max = 100_000_000\n'
    )
    async with ingress_of(fake) as target:
        with managed(run_dir, target, settings) as service:
            mta = await connect(service)
            await mta.open()
            mail = Mail(body=os.urandom(3_500_000))
            await mta.envelope(mail)
            await mta.say(ev.Header(b"From", b" anna@shop.example"))
            await mta.say(ev.EndOfHeaders())
            for start in range(0, 3_000_000, 60_000):
                await mta.say(ev.Body(mail.body[start : start + 60_000]))
            mta.flush()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(service.restart)
            await mta.say(ev.Body(mail.body[3_000_000:3_050_000]))
            for start in range(3_050_000, 3_500_000, 50_000):
                await mta.say(ev.Body(mail.body[start : start + 50_000]))
            assert await mta.say(ev.EndOfBody()) == ev.Accept()
            assert bytes(fake.judged[0].body) == mail.body
            assert any(said.startswith("FDNAME=tamis-body-") for said in service.said)


def test_a_manager_that_cannot_be_reached_is_one_line(run_dir: Path) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": str(run_dir / "nobody")}
    command = start_command(run_dir, "[gateway]\nlisten = 'inet:0@127.0.0.1'\n")
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
