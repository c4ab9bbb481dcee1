"""The streams to the ingresses of the other cell: dialled again and again, with TLS as the gateway has it.

Strategy: one channel and one Filter stream per ingress of the other cell. Whatever goes wrong there ends in `lost` and
another attempt after a back-off; nothing of it reaches the loop of the mail.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path

import grpc

from actors.examine import stack_of
from actors.ports import Clock
from cluster.errand import Timer
from cluster.mirror.config import MirrorConfig
from cluster.mirror.copies import Copies, MirrorLimits
from cluster.mirror.report_file import ReportFile
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub
from wire.stream import CHANNEL_OPTIONS, AdaptiveWriter
from wire.tls import TlsConfig, TlsError, read_credentials

log = logging.getLogger(__name__)

CONNECT_S = 5.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0


class MirrorStream:
    """The way to one ingress of the other cell. Made inside a running loop; implements `Stream` of copies.py."""

    def __init__(self, target: str, tls: TlsConfig, copies: Copies) -> None:
        self._target = target
        self._tls = tls
        self._copies = copies
        self._writer: AdaptiveWriter[pb.Event] | None = None
        self._answered = False
        self._told = ""
        self._connecting = asyncio.create_task(self._keep_connected())

    def send(self, event: pb.Event, size_bytes: int) -> bool:
        """Queue an event; False when the stream is gone or too far behind."""
        return self._writer is not None and self._writer.send(event, size_bytes)

    async def close(self) -> None:
        """Leave the other cell."""
        self._connecting.cancel()
        await asyncio.gather(self._connecting, return_exceptions=True)

    async def _keep_connected(self) -> None:
        backoff_s = 0.0
        while True:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            self._answered = False
            try:
                await self._converse()
                self._tell("ended")
            except (TlsError, TimeoutError, grpc.RpcError, asyncio.InvalidStateError) as error:
                self._tell(_reason(error))
            except Exception as error:  # noqa: BLE001  a bug in a comparison must not end the mirror for ever
                log.error("mirror_failed error=%s\n%s", type(error).__name__, stack_of(error))  # noqa: TRY400  no text
            backoff_s = BACKOFF_FIRST_S if self._answered else min(BACKOFF_MAX_S, max(BACKOFF_FIRST_S, backoff_s * 2))

    async def _converse(self) -> None:
        """One stream from connection to end."""
        async with self._channel() as channel:
            async with asyncio.timeout(CONNECT_S):
                await channel.channel_ready()
            call = FilterServiceStub(channel).Filter()

            async def write(events: list[pb.Event]) -> None:
                await call.write(pb.FilterRequest(events=events))

            writer = self._writer = AdaptiveWriter(write)
            tasks = [asyncio.create_task(writer.run()), asyncio.create_task(self._listen(call))]
            self._copies.connected(self)
            self._tell("connected")
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._writer = None
                self._copies.lost(self)
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                call.cancel()
            for end in ends:
                if isinstance(end, Exception):
                    raise end

    async def _listen(self, call: "grpc.aio.StreamStreamCall[pb.FilterRequest, pb.FilterResponse]") -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            self._answered = True
            for answer in response.answers:
                self._copies.heard(self, answer)

    def _channel(self) -> grpc.aio.Channel:
        if not self._tls.configured:
            return grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        files = read_credentials(self._tls)
        credentials = grpc.ssl_channel_credentials(files.authority, files.key, files.certificate)
        return grpc.aio.secure_channel(self._target, credentials, options=CHANNEL_OPTIONS)

    def _tell(self, state: str) -> None:
        """One line when something changed, not one for each attempt."""
        if state != self._told:
            log.info("mirror_stream to=%s %s", self._target, state)
        self._told = state


class LiveMirror:
    """The mirror of one ingress, with its streams and its file."""

    def __init__(
        self,
        config: MirrorConfig,
        ingress: str,
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._file = ReportFile(Path(config.report_dir) / f"{ingress}.jsonl", config.report_bytes_max)
        limits = MirrorLimits(config.share, config.copies_max, config.held_bytes_max, config.deadline_s)
        self.copies = Copies(limits, clock, call_later, self._file.record)
        self._file.start()
        self._streams = [MirrorStream(target, config.tls, self.copies) for target in config.to]

    async def close(self) -> None:
        """End the streams and write the report's last lines."""
        await asyncio.gather(*(stream.close() for stream in self._streams))
        self._file.close()


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"lost: {error.code().name}: {error.details()}"
    if isinstance(error, TimeoutError):
        return "unreachable"
    return f"lost: {error}"
