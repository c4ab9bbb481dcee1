"""Records the frames of a release: python -m tests.contract.record [RELEASE]

Strategy: a whole Tamis of that release runs in a network namespace of its own, with mail written for this. Between its
gateway and its ingress stands a proxy that knows no message, only bytes; what ingress and replicas say to each other is
read from the loopback interface. Of every kind of message, event and answer a few frames are kept in
tests/contract/RELEASE/frames.jsonl, each beside its fields as the release itself names them (schema.binpb, its
descriptors). Needs root. Do it once for a release, from its tag (bench/release.py), and never again.
"""

import asyncio
import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from actors.policy.gtube import GTUBE
from bench.release import COMMITS, check_out
from bench.samples import CLIENT_IP, SampleMaker
from bench.stack import Stack, StackOptions
from bench.upgrade import started_gateway
from cli.mta import deliver, play_message
from cli.mta_stages import Client
from tests.contract.schema import Schema, compile_schema, is_whole
from wire.stream import CHANNEL_OPTIONS, FrameCutter, FrameTooLong

HERE = Path(__file__).parent
SERVICE = "tamis.filter.v1.FilterService"
INSIDE = "TAMIS_CONTRACT_NAMESPACE"
FRAME_BYTES_MAX = 12_000
OF_EACH_KIND = 5
NOTE = b"From: Ben <ben@friends.example>\r\nTo: r@recipient.example\r\nSubject: Saturday\r\n\r\nAt the lake at ten?\r\n"
LARGE = NOTE + b"I bring the bread, and much to read.\r\n" * 6_000
TOO_LARGE = NOTE + b"I bring the bread, and far too much to read.\r\n" * 10_000
GATEWAY = """
[gateway.early]
stages = ["connect", "helo", "mail", "rcpt"]
[trace]
otlp_endpoint = "http://127.0.0.1:9"
sample_ratio = 0.0
slow_ms = 1
"""
CELL = '[policy.lists]\ndeny_recipients = ["nobody@recipient.example"]\ndeny_clients = ["198.51.100.66"]\n'


@dataclass
class Tape:
    """Frames by the name of their message, in the order in which they were seen."""

    frames: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, name: str, frame: bytes) -> None:
        """One frame."""
        self.frames.append((name, frame))


class Proxy:
    """Between gateways and an ingress: passes bytes on and keeps a copy."""

    def __init__(self, target: str, tape: Tape) -> None:
        self._target = target
        self._tape = tape
        self.address = ""

    async def start(self) -> None:
        """Serve on a free port."""
        self._channel = grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        self._server = grpc.aio.server(options=CHANNEL_OPTIONS)
        handlers = {
            "Filter": grpc.stream_stream_rpc_method_handler(self._filter),
            "Scan": grpc.unary_unary_rpc_method_handler(self._scan),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self) -> None:
        """End all streams."""
        await self._server.stop(None)
        await self._channel.close()

    async def _filter(self, requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async def told() -> AsyncIterator[bytes]:
            async for request in requests:
                self._tape.add("FilterRequest", request)
                yield request

        async for response in self._channel.stream_stream(f"/{SERVICE}/Filter")(told()):
            self._tape.add("FilterResponse", response)
            yield response

    async def _scan(self, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        self._tape.add("ScanRequest", request)
        response: bytes = await self._channel.unary_unary(f"/{SERVICE}/Scan")(request, timeout=context.time_remaining())
        self._tape.add("ScanResponse", response)
        return response


class Loopback(threading.Thread):
    """Everything that TCP says on the loopback interface of this namespace."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 2**20)
        self._socket.bind(("lo", 0x0800))
        self._streams: dict[tuple[int, int], dict[int, bytes]] = {}

    def run(self) -> None:
        """The thread."""
        while True:
            packet, (_, _, kind, *_) = self._socket.recvfrom(70_000)
            if kind != socket.PACKET_OUTGOING and packet[9] == socket.IPPROTO_TCP:
                segment = packet[(packet[0] & 15) * 4 : struct.unpack_from("!H", packet, 2)[0] or None]
                source, target, number = struct.unpack_from("!HHI", segment)
                payload = segment[(segment[12] >> 4) * 4 :]
                if payload:
                    self._streams.setdefault((source, target), {})[number] = payload

    def payloads(self) -> Iterator[bytes]:
        """What looks like the frames of a cell's own streams (wire/stream.py)."""
        for segments in list(self._streams.values()):
            try:
                yield from FrameCutter(2**20).receive(b"".join(segments[number] for number in sorted(segments)))
            except FrameTooLong:
                continue


async def tell(milter: str, maker: SampleMaker) -> None:
    """Mail that makes a gateway and an ingress say everything they can say."""
    reader = b"reader@recipient.example"
    for number, sample in enumerate(maker.samples()):
        macros = {b"i": b"4Q%d" % number}
        await play_message(
            milter, sample.raw, sender=sample.sender, recipients=[reader], client_ip=CLIENT_IP, macros=macros
        )
    sender, both = b"ben@friends.example", [b"nobody@recipient.example", reader]
    for raw in (NOTE, LARGE, TOO_LARGE, NOTE.replace(b"At the lake", GTUBE)):
        await play_message(milter, raw, sender=sender, recipients=both, client_ip=CLIENT_IP)
    await play_message(milter, NOTE, sender=sender, recipients=[reader], client_ip="198.51.100.66")
    slow = asyncio.create_task(_slow(milter, sender, reader))
    await asyncio.sleep(1.0)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    await asyncio.sleep(0.5)


async def _slow(milter: str, sender: bytes, reader: bytes) -> None:
    """A client that will not come to its end: the transaction is aborted."""
    from cli.mail_file import prepare  # noqa: PLC0415

    await deliver(milter, prepare(NOTE, sender, [reader]).as_mail(), Client(ip=CLIENT_IP, delay_s=0.4))


def scan(tree_python: list[str], address: str, directory: Path) -> None:
    """One message by Scan."""
    mail = directory / "note.eml"
    mail.write_bytes(NOTE)
    command = [*tree_python, "scan", "--to", address, "--client-ip", CLIENT_IP, "--sender", "ben@friends.example"]
    subprocess.run([*command, "--recipient", "r@recipient.example", str(mail)], check=True, stdout=subprocess.DEVNULL)


def record(release: str, directory: Path) -> tuple[Schema, Tape]:
    """Run it, and gather what it said."""
    tree = check_out(release, directory / "tree")
    schema = Schema(compile_schema(tree / "proto"))
    maker, tape = SampleMaker(), Tape()
    loopback = Loopback()
    loopback.start()
    cluster = "message_bytes_max = 300_000"
    with Stack(maker.zone(), StackOptions(tree=tree, trace=False, cluster=cluster, extra=CELL)) as stack:
        proxy = Proxy(stack.ready["grpc"], tape)
        stack.call(proxy.start())
        with started_gateway("recorded", {"north": proxy.address}, directory, tree, GATEWAY) as gateway:
            asyncio.run(tell(gateway.milter, maker))
        scan([sys.executable, "-m", "cli"], proxy.address, directory)
        stack.call(proxy.stop())
    for payload in loopback.payloads():
        for name in ("ExamineRequest", "ExamineResponse"):
            message = schema.decode(name, payload)
            if message is not None and is_whole(message):
                tape.add(name, payload)
    return schema, tape


def kinds(message: Message) -> frozenset[str]:
    """Which events, answers, stages or actors a frame holds, "events.begin"."""
    return frozenset(
        f"{descriptor.name}.{_kind(item)}"
        for descriptor, value in message.ListFields()
        for item in (value if descriptor.is_repeated else [value])
    )


def _kind(item: object) -> str:
    if not isinstance(item, Message):
        return ""
    if "kind" in item.DESCRIPTOR.oneofs_by_name:
        return str(item.WhichOneof("kind"))
    found = MessageToDict(item, preserving_proto_field_name=True)
    return str(found.get("stage") or ",".join(sorted({finding["actor"] for finding in found.get("findings", [])})))


def chosen(schema: Schema, tape: Tape) -> Iterator[dict[str, object]]:
    """A few frames of every kind, small ones, with their fields."""
    seen: Counter[tuple[str, str]] = Counter()
    for name, frame in tape.frames:
        message = schema.decode(name, frame)
        assert message is not None, f"{name} that its own schema does not read"
        fresh = [kind for kind in kinds(message) if seen[name, kind] < OF_EACH_KIND]
        if fresh and len(frame) <= FRAME_BYTES_MAX:
            seen.update((name, kind) for kind in kinds(message))
            fields = MessageToDict(message, preserving_proto_field_name=True)
            yield {"message": name, "frame": base64.b64encode(frame).decode(), "fields": fields}
    for (name, kind), count in sorted(seen.items()):
        print(f"{name:<16} {kind:<28} {count}")  # noqa: T201


def main(release: str) -> int:
    """Into a namespace, then record."""
    if INSIDE not in os.environ:
        inner = f"ip link set lo up && exec {sys.executable} -m tests.contract.record {release}"
        return subprocess.run(
            ["unshare", "--net", "sh", "-c", inner], env={**os.environ, INSIDE: "1"}, check=False
        ).returncode
    directory = Path(tempfile.mkdtemp(prefix="tamis-record-", dir="/tmp"))
    try:
        schema, tape = record(release, directory)
        place = HERE / release
        place.mkdir(exist_ok=True)
        (place / "schema.binpb").write_bytes(schema.encoded)
        lines = [json.dumps(frame, sort_keys=True) for frame in chosen(schema, tape)]
        (place / "frames.jsonl").write_text("\n".join(lines) + "\n")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else max(COMMITS)))
