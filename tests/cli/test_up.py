"""`tamis up` as a process: what it refuses, what it starts, and that nothing of it stays behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[2]
ANY_PORTS = """
[gateway]
listen = ["inet:0@127.0.0.1"]
ops_listen = "127.0.0.1:0"
[cluster]
listen = "127.0.0.1:0"
[cluster.admin]
listen = "127.0.0.1:0"
[dns]
nameservers = ["127.0.0.1:9"]
timeout_s = 0.1
"""


def command(run_dir: Path, config: str, *more: str) -> list[str]:
    path = run_dir / "tamis.toml"
    path.write_text(config)
    return [sys.executable, "-m", "cli", "up", "--config", str(path), "--run-dir", str(run_dir / "r"), *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)


def refused(run_dir: Path, config: str) -> str:
    """The one line with which `tamis up` refuses to start."""
    done = subprocess.run(
        command(run_dir, config), cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.live
@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("[cluster]\nreplicas = 3\n", "tamis.toml:2: unknown key `replicas`"),
        ("[cluster]\ningresses = 'two'\n", "tamis.toml:2: Expected `int`, got `str`"),
        ("[cluster]\nlisten = '0.0.0.0:11333'\n", "that needs [cluster.tls]"),
        ("[cluster.pools]\ndkim = 0\npolicy = 0\nclassifier = 0\nantivirus = 0\n", "every pool is empty"),
        ("[gateway]\nlisten = ['inet:0']\n", "tamis.toml:"),
        ("[gateway]\nlisten = ['unix:/nowhere/tamis.sock']\n", "there is no such directory"),
        ("[antivirus]\nyara_rules = ['/nowhere.yar']\n", "/nowhere.yar is no file"),
        ("[classifier]\nshadow_model = '/nowhere.model'\n", "[classifier] shadow_model: /nowhere.model is no file"),
        (
            "[dkim.signing]\nkey_table = 'file:/nowhere/keys'\nsigning_table = 'csl:a.example=k'\n",
            "[dkim.signing]: /nowhere/keys: No such file",
        ),
        (
            "[dkim.signing]\nseal = 'always'\nseal_key = 'a.example:s:/k'\n[headers]\nauthentication_results = false\n",
            "off",
        ),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line_and_exit_code_2(run_dir: Path, config: str, complaint: str) -> None:
    assert complaint in refused(run_dir, config)


@pytest.mark.live
@pytest.mark.parametrize("key", ["gateway listen", "gateway ops_listen", "cluster listen"])
def test_a_port_in_use_is_one_line_and_exit_code_2(run_dir: Path, key: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = {
            "gateway listen": ANY_PORTS.replace("inet:0", f"inet:{port}"),
            "gateway ops_listen": ANY_PORTS.replace('ops_listen = "127.0.0.1:0', f'ops_listen = "127.0.0.1:{port}'),
            "cluster listen": ANY_PORTS.replace('\nlisten = "127.0.0.1:0', f'\nlisten = "127.0.0.1:{port}'),
        }[key]
        line = refused(run_dir, config)
    assert f"127.0.0.1:{port}: Address already in use" in line
    assert key.split()[1] in line


@pytest.mark.live
def test_a_ready_file_that_cannot_be_written_is_found_out_first(run_dir: Path) -> None:
    done = run(command(run_dir, ANY_PORTS, "--ready-file", str(run_dir / "nosuch" / "ready.json")))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--ready-file" in line


@contextmanager
def running(run_dir: Path, config: str = ANY_PORTS) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """`tamis up` once it is ready."""
    ready_file = run_dir / "ready.json"
    with (run_dir / "up.log").open("wb") as log:
        up = subprocess.Popen(
            command(run_dir, config, "--ready-file", str(ready_file)), cwd=PROJECT, stdout=log, stderr=log
        )
    try:
        deadline_s = time.monotonic() + 90
        while not ready_file.exists():
            assert up.poll() is None, (run_dir / "up.log").read_text()
            assert time.monotonic() < deadline_s, (run_dir / "up.log").read_text()
            time.sleep(0.05)
        yield up, json.loads(ready_file.read_text())
    finally:
        up.kill()
        up.wait()


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[str]:
    return [p.name() for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.ray
def test_up_starts_everything_replaces_what_dies_and_sigterm_ends_all_of_it(run_dir: Path) -> None:
    with running(run_dir) as (up, ready):
        assert ready["console"] is None
        assert ready["redis"].startswith("unix://")
        assert ready["milter"].startswith("inet:")
        names = {process.name() for process in family(up.pid)}
        assert {"valkey-server", "gcs_server", "raylet", "ray::Supervisor", "ray::IngressProcess"} <= names
        assert {one.nice() for one in family(up.pid)} == {psutil.Process().nice()}, "mail is no background task"
        second = run(command(run_dir, ANY_PORTS))
        assert second.returncode == 2
        assert "another `tamis` runs there" in second.stderr
        (gateway,) = [process for process in family(up.pid) if "gateway" in process.cmdline()]
        gateway.kill()
        port, host = ready["milter"].removeprefix("inet:").split("@")
        assert _answers(host, int(port)), "a dead gateway is replaced on its port"
        before = family(up.pid)
        started_s = time.monotonic()
        up.send_signal(signal.SIGTERM)
        assert up.wait(15) == 0
        assert time.monotonic() - started_s < 15
        assert alive(before) == []
        assert not (run_dir / "ready.json").exists()


@pytest.mark.ray
def test_up_without_clamd_and_redis_gets_ready_and_looks_after_its_gateway(run_dir: Path) -> None:
    away = '[antivirus]\nclamd = ["127.0.0.1:1"]\n[redis]\nurl = "redis://127.0.0.1:1"\n'
    lists = '[policy.lists]\nredis_prefix = "tamis"\n'
    with running(run_dir, ANY_PORTS + away + lists) as (up, ready):
        log = (run_dir / "up.log").read_text()
        assert "antivirus: unreachable" in log
        (gateway,) = [process for process in family(up.pid) if "gateway" in process.cmdline()]
        gateway.kill()
        gateway.wait()
        port, host = ready["milter"].removeprefix("inet:").split("@")
        assert _answers(host, int(port))
        up.send_signal(signal.SIGTERM)
        assert up.wait(15) == 0


@pytest.mark.ray
def test_a_gateway_that_dies_before_up_is_ready_is_started_again(run_dir: Path) -> None:
    """clamd takes the connection and never answers: the antivirus actor is late, again and again."""
    with socket.create_server(("127.0.0.1", 0)) as clamd:
        config = f'{ANY_PORTS}[antivirus]\nclamd = ["127.0.0.1:{clamd.getsockname()[1]}"]\nclamd_timeout_s = 2.0\n'
        with (run_dir / "up.log").open("wb") as log:
            up = subprocess.Popen(command(run_dir, config), cwd=PROJECT, stdout=log, stderr=log)
        try:
            assert _said(run_dir, "gateway is up")
            (gateway,) = [process for process in family(up.pid) if "gateway" in process.cmdline()]
            gateway.kill()
            assert _said(run_dir, "gateway ended with code -9: starting it again")
            assert _said(run_dir, "not ready yet")
            up.send_signal(signal.SIGTERM)
            assert up.wait(15) == 0
        finally:
            up.kill()
            up.wait()


@pytest.mark.ray
@pytest.mark.parametrize(("process", "line"), [("gcs_server", "Ray's GCS has ended"), ("raylet", "Ray's raylet has")])
def test_without_its_ray_up_says_so_and_ends_soon_so_that_it_can_be_run_again(
    run_dir: Path, process: str, line: str
) -> None:
    with running(run_dir) as (up, _):
        before = family(up.pid)
        (ray,) = [one for one in before if one.name() == process]
        ray.kill()
        assert up.wait(15) == 1
        assert line in (run_dir / "up.log").read_text()
        assert alive(before) == []


@pytest.mark.ray
def test_a_killed_up_leaves_nothing_for_long(run_dir: Path) -> None:
    with running(run_dir) as (up, _):
        before = family(up.pid)
        started_s = time.monotonic()
        os.kill(up.pid, signal.SIGKILL)
        up.wait()
        deadline_s = started_s + 40
        while alive(before):
            assert time.monotonic() < deadline_s, alive(before)
            time.sleep(0.2)


def _answers(host: str, port: int) -> bool:
    deadline_s = time.monotonic() + 15
    while time.monotonic() < deadline_s:
        with socket.socket() as client:
            if client.connect_ex((host, port)) == 0:
                return True
        time.sleep(0.1)
    return False


def _said(run_dir: Path, words: str) -> bool:
    deadline_s = time.monotonic() + 90
    while time.monotonic() < deadline_s:
        if words in (run_dir / "up.log").read_text():
            return True
        time.sleep(0.1)
    return False
