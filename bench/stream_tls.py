"""What encryption costs the streams between nodes: CPU of both ends for one round trip of a frame, plain and by TLS.

.venv/bin/python -m bench.stream_tls --frame-bytes 6000 --frames 5000
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from bench.figures import show
from cluster.door import Door
from cluster.frame_stream import FrameStream
from cluster.replica_stream import Dialer
from cluster.table import Replica
from cluster.tls import StreamTls
from tests.certificates import Authority

_ROUNDS = 5


async def cpu_us(tls: StreamTls | None, frame: bytes, frames: int) -> float:
    """CPU microseconds of a round trip, one after the other, over loopback in this process."""
    streams: list[FrameStream] = []
    writing: set[asyncio.Task[None]] = set()

    def answer(payload: bytes) -> None:
        writing.add(task := asyncio.create_task(streams[-1].write(payload)))
        task.add_done_callback(writing.discard)

    def open_stream() -> FrameStream:
        streams.append(FrameStream(answer))
        return streams[-1]

    door = Door(open_stream, tls)
    address = door.open("127.0.0.1")
    replica = Replica("r", (), address, "there", local="other:1" if tls is not None else "")
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    client = await Dialer("here", tls).connect(replica, heard.put_nowait)
    await heard.get()
    started_s = time.process_time()
    for _ in range(frames):
        await client.write(frame)
        await heard.get()
    spent_s = time.process_time() - started_s
    client.close()
    door.close()
    return spent_s / frames * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frame-bytes", type=int, default=6000)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tls = StreamTls(Authority().issue(Path(directory), "node"))
        frame = bytes(args.frame_bytes)
        # By turns, and the best of each: what else runs here only adds.
        rounds = [[uvloop.run(cpu_us(kind, frame, args.frames)) for kind in (None, tls)] for _ in range(_ROUNDS)]
    plain_us, tls_us = (min(figures) for figures in zip(*rounds, strict=True))
    show(
        {"plain_us": round(plain_us, 1), "tls_us": round(tls_us, 1), "ratio": round(tls_us / plain_us, 2)},
        as_json=args.json,
    )


if __name__ == "__main__":
    main()
