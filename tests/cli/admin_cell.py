"""A fake cell behind the real admin service, in a thread: commands are synchronous."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from cli.__main__ import main
from cli.admin_files import with_admin
from cluster.admin.service import serve
from cluster.config import AdminConfig, ClusterConfig
from tests.cluster.admin.fake_cell import FakeCell
from wire.tls import TlsConfig


@dataclass
class Served:
    """A run directory as `tamis up` leaves it, and the cell behind it."""

    cell: FakeCell
    run_dir: Path
    admin: AdminConfig
    loop: asyncio.AbstractEventLoop
    server: grpc.aio.Server

    def tamis(self, *words: str) -> int:
        """The exit code of a command."""
        try:
            main([*words, "--run-dir", str(self.run_dir)])
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0


@contextlib.contextmanager
def served(run_dir: Path) -> Iterator[Served]:
    """Serve until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    cell = FakeCell()
    with contextlib.ExitStack() as parts:
        admin = with_admin(ClusterConfig(admin=AdminConfig(listen="127.0.0.1:0")), run_dir, parts).admin
        server, _ = asyncio.run_coroutine_threadsafe(serve(cell, admin, TlsConfig()), loop).result(10)
        try:
            yield Served(cell, run_dir, admin, loop, server)
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
