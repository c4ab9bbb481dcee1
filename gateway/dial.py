"""A `Filter` stream to an ingress over gRPC: the only module that calls grpc.

One channel per stream: its TLS files are read when it is dialled, so that a rotated certificate counts from the next
dial on and streams that run go on with what they began with. gRPC's own reconnect back-off is kept short, since the
link above has one of its own per stream.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

# gRPC's own lines on stderr are no JSON, and there is one for each attempt; what they say is in the errors too.
# It looks only when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc.aio

from tamis.filter.v1 import filter_service_pb2 as filter_pb
from wire.stream import CHANNEL_OPTIONS
from wire.tls import TlsConfig, TlsError, read_credentials

CONNECT_S = 5.0
"""An ingress that cannot be reached for this long is reported, with the reason, and dialled again."""
REASON_S = 1.0
"""For gRPC to say why not."""
METHOD = "/tamis.filter.v1.FilterService/Filter"
_EVENTS_TAG = bytes([filter_pb.FilterRequest.EVENTS_FIELD_NUMBER << 3 | 2])
COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}

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

    async def write(self, events: Sequence[filter_pb.Event]) -> None:
        """Hand one frame over; returns when the stream took it."""

    async def read(self) -> filter_pb.FilterResponse:
        """The next frame of answers."""


class GrpcDialer:
    """Opens streams, with TLS if it is configured."""

    def __init__(self, tls: TlsConfig, compression: str) -> None:
        self._tls = tls
        self._compression = COMPRESSIONS[compression]

    @asynccontextmanager
    async def __call__(self, target: str) -> AsyncIterator[Pipe]:
        """A stream to `target` (host:port): waits until it is reachable, cancels the stream on leaving."""
        async with self._channel(target) as channel:
            open_stream = channel.stream_stream(
                METHOD, request_serializer=encode_request, response_deserializer=filter_pb.FilterResponse.FromString
            )
            try:
                async with asyncio.timeout(CONNECT_S):
                    await channel.channel_ready()
            except TimeoutError:
                raise StreamLost(await _why_not(open_stream)) from None
            call = open_stream()
            try:
                yield _GrpcPipe(call)
            finally:
                call.cancel()

    def _channel(self, target: str) -> grpc.aio.Channel:
        if not self._tls.configured:
            return grpc.aio.insecure_channel(target, options=_OPTIONS, compression=self._compression)
        try:
            files = read_credentials(self._tls)
        except TlsError as error:
            raise StreamLost(str(error)) from error
        credentials = grpc.ssl_channel_credentials(files.authority, files.key, files.certificate)
        return grpc.aio.secure_channel(target, credentials, options=_OPTIONS, compression=self._compression)


class _GrpcPipe:
    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self._call = call

    async def write(self, events: Sequence[filter_pb.Event]) -> None:
        try:
            await self._call.write(events)
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


def encode_request(events: Sequence[filter_pb.Event]) -> bytes:
    """A FilterRequest of these events, whose encoding is theirs one after the other.

    Making the message first would encode, decode and again encode each of them, bodies included.
    """
    parts: list[bytes] = []
    for event in events:
        encoded = event.SerializeToString()
        parts += (_EVENTS_TAG, _varint(len(encoded)), encoded)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    """Base 128, the lowest seven bits first (Protocol Buffers, "Encoding")."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


async def _why_not(open_stream: grpc.aio.StreamStreamMultiCallable) -> str:
    """Why the channel does not connect: only the failure of a call says it."""
    call = open_stream(wait_for_ready=False)
    try:
        async with asyncio.timeout(REASON_S):
            await call.wait_for_connection()
    except grpc.aio.AioRpcError as error:
        return _reason(error)
    except TimeoutError:
        pass
    finally:
        call.cancel()
    return "no connection"


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return "the stream is over"
