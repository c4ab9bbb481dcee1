"""The stream from an ingress to one replica: a `Link` of the dispatcher over grpc.aio.

It connects by itself and again after each break, at once the first time and backing off after that, until it is
closed; the dispatcher hears of every change. Tasks and cancellations share one adaptive writer.
"""

import asyncio
import contextlib
import logging
import random

import grpc

from cluster.dispatch import Dispatcher
from cluster.table import Replica
from tamis.filter.v1 import examine_service_pb2 as pb
from tamis.filter.v1 import examine_service_pb2_grpc
from wire.stream import CHANNEL_OPTIONS, AdaptiveWriter

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
_CANCEL_BYTES = 10
_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))


class ReplicaStream:
    """Implements `cluster.errand.Link`. Made inside a running loop."""

    def __init__(self, replica: Replica, dispatcher: Dispatcher) -> None:
        self._replica = replica
        self._dispatcher = dispatcher
        self._writer: AdaptiveWriter[pb.Task | int] | None = None
        self._connecting = asyncio.create_task(self._keep_connected())

    def send(self, task: pb.Task, size_bytes: int) -> bool:
        """Queue a task; False when there is no stream or it is too far behind."""
        return self._writer is not None and self._writer.send(task, size_bytes)

    def cancel(self, task: int) -> None:
        """Queue a cancellation; without a stream there is nothing to cancel."""
        if self._writer is not None:
            self._writer.send(task, _CANCEL_BYTES)

    def close(self) -> None:
        """Give the stream up."""
        self._connecting.cancel()

    async def _keep_connected(self) -> None:
        backoff_s = 0.0
        while True:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            try:
                await self._converse()
            except grpc.RpcError as error:
                code = error.code() if isinstance(error, grpc.aio.AioRpcError) else error
                log.info("replica_stream_broken replica=%s code=%s", self._replica.name, code)
            if self._writer is not None:
                self._writer = None
                backoff_s = 0.0
                self._dispatcher.broken(self._replica)
            backoff_s = min(BACKOFF_MAX_S, max(BACKOFF_FIRST_S, backoff_s * 2))

    async def _converse(self) -> None:
        """One stream from connection to break."""
        async with grpc.aio.insecure_channel(self._replica.address, options=_OPTIONS) as channel:
            call = examine_service_pb2_grpc.ExamineServiceStub(channel).Examine()
            await call.wait_for_connection()

            async def write(items: list[pb.Task | int]) -> None:
                tasks = [item for item in items if not isinstance(item, int)]
                cancelled = [item for item in items if isinstance(item, int)]
                await call.write(pb.ExamineRequest(tasks=tasks, cancel=cancelled))

            writer: AdaptiveWriter[pb.Task | int] = AdaptiveWriter(write)
            writing = asyncio.create_task(writer.run())
            self._writer = writer
            self._dispatcher.ready(self._replica)
            try:
                async for response in call:
                    for result in response.results:
                        self._dispatcher.result(self._replica, result)
            finally:
                writing.cancel()
                with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError, grpc.RpcError):
                    await writing
