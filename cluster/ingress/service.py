"""The gRPC face of the ingress: FilterService on one port.

Handlers decode, hand over to a `Session` and encode; answers of one loop tick share a frame. `Scan` is a transaction
like any other, told to a session of its own as the events a gateway would send.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import grpc

from cluster.ingress.hall import Hall
from cluster.ingress.retell import whole_message
from cluster.ingress.session import Session
from cluster.tls import server_credentials
from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import filter_service_pb2_grpc
from wire.stream import CHANNEL_OPTIONS, CROWD_OF_ANSWERS, AdaptiveWriter
from wire.tls import TlsConfig

log = logging.getLogger(__name__)

_SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *CHANNEL_OPTIONS,
    # An ingress is replaced by one that listens beside it; with [cluster] shared_port all of a node do.
    ("grpc.so_reuseport", 1),
    # A stranger who says nothing, or no HTTP/2; two minutes by default.
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_allowed_incoming_connections", 4096),
)
_SCAN_BUDGET_S_MAX = 3600.0
_STATUS_OF_REFUSAL = {
    pb.Refused.REASON_OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    pb.Refused.REASON_DRAINING: grpc.StatusCode.UNAVAILABLE,
    pb.Refused.REASON_MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
}


class FilterServicer(filter_service_pb2_grpc.FilterServiceServicer):
    """Serves the streams of gateways and the scans of everybody else."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    async def Filter(  # noqa: N802  gRPC's name
        self,
        requests: AsyncIterator[pb.FilterRequest],
        context: "grpc.aio.ServicerContext[pb.FilterRequest, pb.FilterResponse]",
    ) -> None:
        """One stream of one gateway, until it ends."""

        async def write(answers: list[pb.Answer]) -> None:
            await context.write(pb.FilterResponse(answers=answers))

        writer: AdaptiveWriter[pb.Answer] = AdaptiveWriter(write, crowd_items=CROWD_OF_ANSWERS)
        session = Session(self._hall, writer.send)
        writing = asyncio.create_task(writer.run())
        # Without a writer nobody would hear the answers: the stream ends, and its gateway asks elsewhere.
        reading = asyncio.current_task()
        writing.add_done_callback(lambda ended: None if ended.cancelled() or reading is None else reading.cancel())
        log.info("stream_open peer=%s", context.peer())
        self._hall.streams.add(session)
        session.announce()
        try:
            async for request in requests:
                session.receive(request.events)
                if session.behind:
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "answers are not read")
        finally:
            session.close()
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError, grpc.RpcError):
                await writing
            log.info("stream_closed peer=%s", context.peer())

    async def Scan(  # noqa: N802  gRPC's name
        self, request: pb.ScanRequest, context: "grpc.aio.ServicerContext[pb.ScanRequest, pb.ScanResponse]"
    ) -> pb.ScanResponse:
        """The verdict on one whole message, within the deadline of the call."""
        left_s = context.time_remaining()
        if left_s is None or left_s > _SCAN_BUDGET_S_MAX:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a scan needs a deadline of at most an hour")
        answered: asyncio.Future[pb.Answer] = asyncio.get_running_loop().create_future()

        def send(answer: pb.Answer, _size_bytes: int) -> bool:
            if answer.WhichOneof("kind") in ("verdict", "refused") and not answered.done():
                answered.set_result(answer)
            return True

        metadata = {key: value for key, value in context.invocation_metadata() or () if key == "traceparent"}
        session = Session(self._hall, send)
        try:
            message, trace = request.message, str(metadata.get("traceparent", ""))
            told = whole_message(
                message.envelope, message.header_block, message.body, left_s, traceparent=trace, explain=True
            )
            session.receive(told)
            answer = await answered
        finally:
            session.close()
        if answer.HasField("refused"):
            code = _STATUS_OF_REFUSAL.get(answer.refused.reason, grpc.StatusCode.INTERNAL)
            await context.abort(code, answer.refused.detail)
        return pb.ScanResponse(verdict=answer.verdict)


async def serve(hall: Hall, host: str, port: int, tls: TlsConfig) -> tuple[grpc.aio.Server, int]:
    """Start the server; returns it with its port. Raises OSError when the port is taken, TlsError for unfit files."""
    server = grpc.aio.server(options=_SERVER_OPTIONS)
    filter_service_pb2_grpc.add_FilterServiceServicer_to_server(FilterServicer(hall), server)
    name = f"[{host}]" if ":" in host else host
    try:
        if tls.configured:
            bound = server.add_secure_port(f"{name}:{port}", server_credentials(tls))
        else:
            bound = server.add_insecure_port(f"{name}:{port}")
    except RuntimeError as error:
        raise OSError(f"{name}:{port} cannot be bound") from error
    await server.start()
    return server, bound
