"""An ingress that accepts everything, in a process of its own: for soak and kill runs, where it must be lean or die.

    python -m bench.ingress [--listen 127.0.0.1:0] [--delay-ms 0]

Prints its host:port. Keeps nothing but what a transaction needs: recipients heard, body bytes owed.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Self

import grpc.aio
import uvloop

from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import filter_service_pb2_grpc as filter_grpc
from tamis.filter.v1 import verdict_pb2
from wire.stream import CHANNEL_OPTIONS, INITIAL_BODY_CREDIT_BYTES


async def coalesced(ready: "asyncio.Queue[pb.Answer | None]") -> AsyncIterator[pb.FilterResponse]:
    """Answers in frames of what is ready, up to the first None."""
    while (answer := await ready.get()) is not None:
        answers = [answer]
        while not ready.empty() and (more := ready.get_nowait()) is not None:
            answers.append(more)
        yield pb.FilterResponse(answers=answers)


class AcceptAll(filter_grpc.FilterServiceServicer):
    """Lets every recipient in at once and accepts every message after `delay_s`."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    async def Filter(  # noqa: N802 - the name of the RPC
        self, requests: AsyncIterator[pb.FilterRequest], _context: object
    ) -> AsyncIterator[pb.FilterResponse]:
        """One stream."""
        ready: asyncio.Queue[pb.Answer | None] = asyncio.Queue()
        hearing = asyncio.create_task(self._hear(requests, ready))
        try:
            async for response in coalesced(ready):
                yield response
        finally:
            hearing.cancel()

    async def _hear(self, requests: AsyncIterator[pb.FilterRequest], ready: "asyncio.Queue[pb.Answer | None]") -> None:
        loop = asyncio.get_running_loop()
        recipients: dict[int, int] = {}
        async for request in requests:
            for event in request.events:
                number, kind = event.transaction, event.WhichOneof("kind")
                if kind == "recipient":
                    index = recipients.get(number, 0)
                    recipients[number] = index + 1
                    if event.recipient.budget_ms:
                        let_in = verdict_pb2.RecipientVerdict(recipient=index, action=verdict_pb2.ACTION_ACCEPT)
                        ready.put_nowait(pb.Answer(transaction=number, recipient_verdict=let_in))
                elif kind == "body":
                    credit = pb.Credit(body_bytes=max(len(event.body), INITIAL_BODY_CREDIT_BYTES // 4))
                    if len(event.body) > INITIAL_BODY_CREDIT_BYTES // 8:
                        ready.put_nowait(pb.Answer(transaction=number, credit=credit))
                elif kind == "end_of_message":
                    recipients.pop(number, None)
                    verdict = verdict_pb2.Verdict(action=verdict_pb2.ACTION_ACCEPT)
                    answer = pb.Answer(transaction=number, verdict=verdict)
                    if self._delay_s:
                        loop.call_later(self._delay_s, ready.put_nowait, answer)
                    else:
                        ready.put_nowait(answer)
                elif kind == "abort":
                    recipients.pop(number, None)
        ready.put_nowait(None)


class IngressProcess:
    """Context manager: one such process, which can be killed and started again on the same port."""

    def __init__(self, delay_ms: float = 0.0) -> None:
        self._delay_ms = delay_ms
        self.target = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start, or start again where it was; returns when it listens."""
        command = [sys.executable, "-m", "bench.ingress", "--listen", self.target, "--delay-ms", str(self._delay_ms)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.target = self._process.stdout.readline().strip()
        if not self.target:
            raise RuntimeError("the ingress did not start")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid


async def serve(listen: str, delay_s: float) -> None:
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    filter_grpc.add_FilterServiceServicer_to_server(AcceptAll(delay_s), server)
    host, _, _ = listen.rpartition(":")
    port = server.add_insecure_port(listen)
    await server.start()
    print(f"{host}:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    options = parser.parse_args()
    uvloop.run(serve(options.listen, options.delay_ms / 1000))


if __name__ == "__main__":
    main()
