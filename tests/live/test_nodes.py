"""A head and further nodes, as operators run them: who may join, and who is told why not."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.family import Family
from bench.local_cell import JoinedNode, LocalCell
from bench.stack import StackOptions, wait_for

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cell() -> Iterator[LocalCell]:
    with LocalCell({}, nodes=2, options=StackOptions(trace=False)) as running:
        yield running
    assert running.stack.ending == ""
    assert all(node.left == [] for node in running.joined)


def join(tmp_path: Path, *words: str, config: str = "", code: str = "") -> "subprocess.CompletedProcess[str]":
    """`tamis join` until it ends; `code` runs in its process before."""
    path = tmp_path / "tamis.toml"
    path.write_text(config)
    start = [sys.executable, "-c", f"{code}\nfrom cli.__main__ import main; main()"]
    arguments = ["join", *words, "--config", str(path), "--run-dir", str(tmp_path / "run")]
    return subprocess.run([*start, *arguments], capture_output=True, text=True, timeout=60, check=False)


def token_file(tmp_path: Path, token: str = "b" * 64) -> str:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(token)
    return f'[ray]\ntoken_file = "{path}"\n'


def own_ray_config(cell: LocalCell) -> str:
    return (cell.joined[0].run_dir / "tamis.toml").read_text().replace("127.0.0.2", "127.0.0.9")


def test_a_node_joins_is_used_and_leaves_without_a_trace(cell: LocalCell) -> None:
    node = cell.add()
    node.until_joined()
    port = int(cell.grpc.rpartition(":")[2])
    wait_for(lambda: answers(node.ready["address"], port), 60)
    node.stop()
    assert node.exit_code == 0
    assert node.left == []
    assert "the node is empty" in node.log
    assert node.log.endswith("tamis join: stopped\n")


def answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def test_a_node_whose_raylet_dies_joins_again(cell: LocalCell) -> None:
    node = cell.add()
    before = node.until_joined()
    (raylet,) = [process for process in Family(node.pid).alive() if process.name() == "raylet"]
    raylet.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 60
    while node.ready["node"] == before:
        assert time.monotonic() < deadline_s, node.log
        time.sleep(0.1)
    assert "Ray's raylet has ended: joining again" in node.log
    node.stop()
    assert node.left == []


def test_a_node_that_is_killed_leaves_nothing_behind(cell: LocalCell) -> None:
    node = cell.add()
    node.until_joined()
    family = Family(node.pid)
    os.kill(node.pid, signal.SIGKILL)
    assert family.left(10) == []


def test_a_wrong_token_is_refused_with_one_line(cell: LocalCell, tmp_path: Path) -> None:
    address = cell.stack.ready["ray"]
    ended = join(tmp_path, address, config=token_file(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr.endswith(f"\ntamis join: {address} does not take the token of this node ([ray] token_file)\n")


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("import ray; ray.__version__ = '2.59.1'", "this node Ray 2.59.1 on Python 3.11"),
        ("import platform; platform.python_version = lambda: '3.12.1'", "on Python 3.12.1"),
    ],
)
def test_a_node_with_another_ray_or_python_is_refused_with_one_line(
    cell: LocalCell, tmp_path: Path, code: str, ours: str
) -> None:
    ended = join(tmp_path, cell.stack.ready["ray"], config=own_ray_config(cell), code=code)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"tamis join: {cell.stack.ready['ray']} runs Ray 2.")
    assert ours in line
    assert line.endswith("the nodes of a cell have the same")


def test_a_head_that_is_away_is_waited_for(tmp_path: Path) -> None:
    node = JoinedNode("127.0.0.1:9", token_file(tmp_path)).start()
    deadline_s = time.monotonic() + 30
    while node.log.count("trying again") < 2:
        assert time.monotonic() < deadline_s, node.log
        time.sleep(0.1)
    assert "127.0.0.1:9: Connection refused; trying again in 1 s" in node.log
    node.remove()
    assert node.exit_code == 0
    assert node.left == []


@pytest.mark.parametrize(
    ("words", "config", "complaint"),
    [
        ((), "", "whom to join?"),
        (("here",), "", "'here' is not host:port"),
        (("127.0.0.1:9",), "", "[ray] token_file: a node shows the token of its cell"),
        (("127.0.0.1:9",), '[ray]\nnode_address = "10.1.0.5"\n', "that needs `token_file` and [ray.tls]"),
        (("127.0.0.1:9",), '[ray]\ntoken_file = "/none"\n', "/none: No such file"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(
    tmp_path: Path, words: tuple[str, ...], config: str, complaint: str
) -> None:
    ended = join(tmp_path, *words, config=config)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert complaint in line
