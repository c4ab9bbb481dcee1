"""The stream from an ingress to one replica: a `Link` of the dispatcher over a connection.

On the node of the replica it is plain, from another one it is encrypted and both ends show certificates. It connects by
itself and again after each break, soon the first time and backing off after that, until it is closed; the dispatcher
hears of every change. Tasks and cancellations share one adaptive writer. An empty frame asks for an empty frame: a
replica that hangs is told from one that has nothing to say.
"""

import asyncio
import errno
import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from actors.examine import stack_of
from cluster.dispatch import Dispatcher
from cluster.frame_stream import FrameStream
from cluster.table import Replica
from cluster.tls import StreamTls
from tamis.filter.v1 import examine_service_pb2 as pb
from wire.stream import AdaptiveWriter

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
_CANCEL_BYTES = 10
_PING = b""
_PING_EVERY_S = 1.0
SILENT_S = 4.0
"""Without a frame for so long a replica counts as hanging; an actor may hold its loop for a second or two."""
_CONNECT_S = 5.0
"""A host that is away answers nothing, and TLS waits for a minute."""


@dataclass(frozen=True, slots=True)
class Dialer:
    """How the streams of one ingress begin."""

    node: str = ""
    """Ray's id of the node that it runs on."""
    tls: StreamTls | None = None

    async def connect(self, replica: Replica, receive: Callable[[bytes], None]) -> FrameStream:
        """A connection to the replica. Raises OSError."""
        address, context = replica.address, None
        if replica.local and replica.node == self.node:
            address = replica.local
        elif replica.local:
            if self.tls is None or replica.local == replica.address:
                raise OSError(errno.EACCES, "no certificates between these nodes")
            context = self.tls.client
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            _, frames = await loop.create_connection(
                lambda: FrameStream(receive), host.strip("[]"), int(port), ssl=context
            )
        # The first frame says that we are no stranger (cluster/door.py).
        await frames.write(_PING)
        return frames


PLAIN = Dialer()
"""For processes that are all on one node, and replicas that have but one address."""


class ReplicaStream:
    """Implements `cluster.errand.Link`. Made inside a running loop."""

    def __init__(self, replica: Replica, dispatcher: Dispatcher, dialer: Dialer = PLAIN) -> None:
        self._dialer = dialer
        self._replica = replica
        self._dispatcher = dispatcher
        self._writer: AdaptiveWriter[pb.Task | int] | None = None
        self._answered = False
        self._heard_s = 0.0
        self._silent = False
        self._closed = False
        self._state = ""
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
        self._closed = True
        self._connecting.cancel()

    async def _keep_connected(self) -> None:
        backoff_s = 0.0
        while True:
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            self._answered = False
            try:
                await self._converse()
                self._tell("ended")
            except OSError as error:
                self._tell(f"unreachable: {_reason(error)}")
            except Exception as error:  # noqa: BLE001  without this loop the replica would never be asked again
                self._tell(f"failed: {type(error).__name__}")
            # Never at once: a process that is dying still takes connections. And one that takes them and says nothing
            # is no better than one that takes none.
            backoff_s = BACKOFF_FIRST_S if self._answered else min(BACKOFF_MAX_S, max(BACKOFF_FIRST_S, backoff_s * 2))

    async def _converse(self) -> None:
        """One stream from connection to end. Raises OSError when there is no connection."""
        frames = await self._dialer.connect(self._replica, self._receive)

        async def write(items: list[pb.Task | int]) -> None:
            tasks = [item for item in items if not isinstance(item, int)]
            cancelled = [item for item in items if isinstance(item, int)]
            await frames.write(pb.ExamineRequest(tasks=tasks, cancel=cancelled).SerializeToString())

        writer: AdaptiveWriter[pb.Task | int] = AdaptiveWriter(write)
        writing = asyncio.create_task(writer.run())
        listening = asyncio.create_task(self._listen(frames))
        self._writer = writer
        try:
            self._dispatcher.ready(self._replica)
            await asyncio.wait({writing, frames.lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writer = None
            writing.cancel()
            listening.cancel()
            frames.close()
            if not self._closed:
                self._dispatcher.broken(self._replica)

    async def _listen(self, frames: FrameStream) -> None:
        """Tell the dispatcher when the replica falls silent."""
        loop = asyncio.get_running_loop()
        self._heard_s, self._silent = loop.time(), False
        while True:
            asked_s = loop.time()
            frames.offer(_PING)
            await asyncio.sleep(_PING_EVERY_S)
            if loop.time() > asked_s + 2 * _PING_EVERY_S:
                # It was this process that stood still; what came meanwhile has not been read yet.
                self._heard_s = loop.time()
            elif not self._silent and loop.time() > self._heard_s + SILENT_S:
                self._silent = True
                log.warning("replica_silent replica=%s", self._replica.name)
                self._dispatcher.silent(self._replica)

    def _receive(self, payload: bytes) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        if self._silent:
            self._silent = False
            log.info("replica_speaks replica=%s", self._replica.name)
            self._dispatcher.speaks(self._replica)
        results = pb.ExamineResponse.FromString(payload).results
        self._answered = self._answered or bool(results)
        for result in results:
            try:
                self._dispatcher.result(self._replica, result)
            except Exception as error:  # noqa: BLE001  one result's failure is not the replica's, nor the others'
                log.error("result_failed error=%s\n%s", type(error).__name__, stack_of(error))  # noqa: TRY400  no text

    def _tell(self, state: str) -> None:
        """One line when something changed, not one for each attempt."""
        if state != self._state:
            log.info("replica_stream replica=%s %s", self._replica.name, state)
        self._state = state


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or (error.reason or "handshake failed").replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__
