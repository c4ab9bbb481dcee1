"""A TCP proxy that delays every answer, as a server far away does: `python -m bench.slow_proxy --to 127.0.0.1:6379`.

Each chunk is passed on so much later than it came, in its order; a line that is slow, not one that is narrow.
"""

import argparse
import asyncio
import contextlib
from pathlib import Path


class SlowProxy:
    """Listens on loopback; `delay_s` may be changed while it runs. `target` is HOST:PORT or the path of a socket."""

    def __init__(self, target: str, delay_s: float) -> None:
        self.delay_s = delay_s
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._passing:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            if Path(self._target).is_absolute():
                up_reader, up_writer = await asyncio.open_unix_connection(self._target)
            else:
                host, _, port = self._target.rpartition(":")
                up_reader, up_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(up_writer):
                ways = {
                    asyncio.create_task(_pass(reader, up_writer)),
                    asyncio.create_task(self._delay(up_reader, writer)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()

    async def _delay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65_536):
            loop.call_later(self.delay_s, writer.write, data)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True, help="HOST:PORT or the path of a unix socket")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=100.0)
    options = parser.parse_args()
    proxy = SlowProxy(options.to, options.delay_ms / 1000)
    print(f"127.0.0.1:{await proxy.start(options.port)}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
