"""A `Filter` stream to an ingress over gRPC: the only module that calls grpc.

One channel per ingress lives as long as the gateway; gRPC's own reconnect back-off is kept short, since the link
above has one of its own per stream.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import grpc.aio

from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import filter_service_pb2_grpc as filter_grpc
from wire.stream import CHANNEL_OPTIONS

_OPTIONS = (
    *CHANNEL_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class StreamLost(Exception):
    """The stream broke or could not be opened; the text says why, for the log."""


class Pipe(Protocol):
    """One open stream. Both methods raise StreamLost when it breaks."""

    async def write(self, request: filter_pb.FilterRequest) -> None:
        """Hand one frame over; returns when the stream took it."""

    async def read(self) -> filter_pb.FilterResponse:
        """The next frame of answers."""


class GrpcDialer:
    """Opens streams; keeps one channel per target."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    @asynccontextmanager
    async def __call__(self, target: str) -> AsyncIterator[Pipe]:
        """A stream to `target` (host:port): waits until it is reachable, cancels the stream on leaving."""
        channel = self._channels.get(target)
        if channel is None:
            channel = self._channels[target] = grpc.aio.insecure_channel(target, options=_OPTIONS)
        await channel.channel_ready()
        call = filter_grpc.FilterServiceStub(channel).Filter()
        try:
            yield _GrpcPipe(call)
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()


class _GrpcPipe:
    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self._call = call

    async def write(self, request: filter_pb.FilterRequest) -> None:
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise StreamLost(_reason(error)) from error

    async def read(self) -> filter_pb.FilterResponse:
        try:
            response: filter_pb.FilterResponse = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise StreamLost(_reason(error)) from error
        if response is grpc.aio.EOF:
            raise StreamLost("ended by the ingress")
        return response


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return "the stream is over"
