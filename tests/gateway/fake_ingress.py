"""An ingress for tests: hears events and answers by a script; in memory for unit tests, over gRPC for live ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio

from bench.ingress import coalesced
from gateway.dial import Pipe, StreamLost
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import filter_service_pb2_grpc as filter_grpc
from tamis.filter.v1 import message_pb2
from tamis.filter.v1 import verdict_pb2 as pb
from wire.stream import CHANNEL_OPTIONS, INITIAL_BODY_CREDIT_BYTES


@dataclass
class Heard:
    """What an ingress was told of one transaction."""

    number: int
    begin: filter_pb.Begin
    sender: bytes = b""
    recipients: list[bytes] = field(default_factory=list)
    recipient_budgets_ms: list[int] = field(default_factory=list)
    headers: filter_pb.Headers | None = None
    body: bytearray = field(default_factory=bytearray)
    pieces: int = 0
    credit_bytes: int = INITIAL_BODY_CREDIT_BYTES
    end: filter_pb.EndOfMessage | None = None
    asks: list[filter_pb.Ask] = field(default_factory=list)


Judge = Callable[[Heard], filter_pb.Answer | None]


def verdict(action: pb.Action = pb.ACTION_ACCEPT, **fields: object) -> Judge:
    return lambda heard: filter_pb.Answer(
        transaction=heard.number,
        verdict=pb.Verdict(action=action, **fields),
    )


ACCEPT = verdict()


def refuse(reason: filter_pb.Refused.Reason) -> Judge:
    return lambda heard: filter_pb.Answer(transaction=heard.number, refused=filter_pb.Refused(reason=reason))


def let_in(heard: Heard) -> filter_pb.Answer:
    early = pb.RecipientVerdict(recipient=len(heard.recipients) - 1, action=pb.ACTION_ACCEPT)
    return filter_pb.Answer(transaction=heard.number, recipient_verdict=early)


def reject_recipients(*addresses: bytes) -> Judge:
    def judge(heard: Heard) -> filter_pb.Answer:
        answer = let_in(heard)
        if heard.recipients[-1] in addresses:
            answer.recipient_verdict.action = pb.ACTION_REJECT
            answer.recipient_verdict.reply.CopyFrom(pb.Reply(code=550, enhanced="5.7.1", text="no"))
        return answer

    return judge


def go_on(heard: Heard) -> filter_pb.Answer:
    return at_stage(pb.ACTION_ACCEPT)(heard)


def at_stage(action: pb.Action, *reasons: str, **reply: object) -> Judge:
    """The answer to the latest Ask; `reply` are the fields of the SMTP reply."""

    def judge(heard: Heard) -> filter_pb.Answer:
        early = pb.StageVerdict(stage=heard.asks[-1].stage, action=action, reasons=reasons)
        if reply:
            early.reply.CopyFrom(pb.Reply(**reply))  # type: ignore[arg-type]
        return filter_pb.Answer(transaction=heard.number, stage_verdict=early)

    return judge


def silent(_heard: Heard) -> None:
    return None


class FakeIngress:
    """Answers each stage by a judge; grants credit as bytes are consumed; notes what breaks the contract."""

    def __init__(
        self, judge: Judge = ACCEPT, recipient: Judge = let_in, stage: Judge = go_on, *, grants: bool = True
    ) -> None:
        self.judge = judge
        self.recipient = recipient
        self.stage = stage
        """Answers CONNECT, HELO and MAIL."""
        self.asked: list[Heard] = []
        """Of each of these, what was known."""
        self.grants = grants
        self.open: dict[int, Heard] = {}
        self.judged: list[Heard] = []
        self.begun = 0
        self.aborted: list[int] = []
        self.kept: list[tuple[int, str]] = []
        self.faults: list[str] = []
        self.push: Callable[[filter_pb.Answer], None] = lambda _answer: None
        """Over gRPC: send an answer that no event asked for."""

    def hear(self, event: filter_pb.Event) -> list[filter_pb.Answer]:
        kind = event.WhichOneof("kind")
        if kind == "begin":
            if event.transaction in self.open:
                self.faults.append("second Begin with a live number")
            self.begun += 1
            self.open[event.transaction] = Heard(event.transaction, event.begin)
            return []
        if kind == "keep":
            self.kept.append((event.transaction, event.keep.reason))
            return []
        heard = self.open.get(event.transaction)
        if heard is None:
            return []
        return self._tell(heard, kind or "", event)

    def _tell(self, heard: Heard, kind: str, event: filter_pb.Event) -> list[filter_pb.Answer]:
        answer: filter_pb.Answer | None = None
        if kind == "mail":
            heard.sender = event.mail.sender
        elif kind == "ask":
            answer = self._ask(heard, event.ask)
        elif kind == "recipient":
            heard.recipients.append(event.recipient.recipient.address)
            heard.recipient_budgets_ms.append(event.recipient.budget_ms)
            answer = self.recipient(heard) if event.recipient.budget_ms else None
        elif kind == "headers":
            heard.headers = event.headers
        elif kind == "body":
            answer = self._body(heard, event.body)
        elif kind == "abort":
            self.aborted.append(heard.number)
            del self.open[heard.number]
        elif kind == "end_of_message":
            heard.end = event.end_of_message
            answer = self.judge(heard)
            if answer is not None:
                self.judged.append(heard)
        if answer is not None and answer.WhichOneof("kind") in ("verdict", "refused"):
            self.open.pop(heard.number, None)
        return [answer] if answer is not None else []

    def _ask(self, heard: Heard, ask: filter_pb.Ask) -> filter_pb.Answer | None:
        heard.asks.append(ask)
        self.asked.append(heard)
        answer = self.stage(heard)
        if answer is not None and ask.stage != message_pb2.STAGE_MAIL:
            del self.open[heard.number]
        return answer

    def _body(self, heard: Heard, piece: bytes) -> filter_pb.Answer | None:
        heard.body += piece
        heard.pieces += 1
        heard.credit_bytes -= len(piece)
        if heard.credit_bytes < 0:
            self.faults.append("body beyond credit")
        if not self.grants or heard.credit_bytes > INITIAL_BODY_CREDIT_BYTES // 2:
            return None
        heard.credit_bytes += INITIAL_BODY_CREDIT_BYTES
        credit = filter_pb.Credit(body_bytes=INITIAL_BODY_CREDIT_BYTES)
        return filter_pb.Answer(transaction=heard.number, credit=credit)


class MemoryPipe:
    """A stream without a network: what is written is heard at once, answers wait to be read."""

    def __init__(self, ingress: FakeIngress) -> None:
        self._ingress = ingress
        self._answers: asyncio.Queue[filter_pb.Answer | None] = asyncio.Queue()
        self.frames: list[int] = []

    async def write(self, events: Sequence[filter_pb.Event]) -> None:
        self.frames.append(len(events))
        for event in events:
            # Across a real stream no object is shared.
            for answer in self._ingress.hear(filter_pb.Event.FromString(event.SerializeToString())):
                self.answer(answer)

    async def read(self) -> filter_pb.FilterResponse:
        answer = await self._answers.get()
        if answer is None:
            raise StreamLost("broken by the test")
        return filter_pb.FilterResponse(answers=[answer])

    def answer(self, answer: filter_pb.Answer) -> None:
        self._answers.put_nowait(answer)

    def break_off(self) -> None:
        self._ingress.open.clear()
        self._answers.put_nowait(None)


class Cell:
    """Ingresses by target, to be dialled in memory; a target that is not there cannot be reached."""

    def __init__(self, **ingresses: FakeIngress) -> None:
        self.ingresses = dict(ingresses)
        self.pipes: dict[str, MemoryPipe] = {}
        self.opened: list[MemoryPipe] = []
        self.dialled = 0

    @asynccontextmanager
    async def dial(self, target: str) -> AsyncIterator[Pipe]:
        self.dialled += 1
        if target not in self.ingresses:
            raise StreamLost("connection refused")
        pipe = self.pipes[target] = MemoryPipe(self.ingresses[target])
        self.opened.append(pipe)
        yield pipe

    def kill(self, target: str) -> None:
        """The ingress dies with its streams and does not come back by itself."""
        del self.ingresses[target]
        self.pipes.pop(target).break_off()


class FakeServicer(filter_grpc.FilterServiceServicer):
    """The same ingress behind gRPC."""

    def __init__(self, ingress: FakeIngress) -> None:
        self._ingress = ingress

    async def Filter(  # noqa: N802 - the name of the RPC
        self, requests: AsyncIterator[filter_pb.FilterRequest], _context: object
    ) -> AsyncIterator[filter_pb.FilterResponse]:
        ready: asyncio.Queue[filter_pb.Answer | None] = asyncio.Queue()
        self._ingress.push = ready.put_nowait

        async def listen() -> None:
            async for request in requests:
                for event in request.events:
                    for answer in self._ingress.hear(event):
                        ready.put_nowait(answer)
            ready.put_nowait(None)

        listening = asyncio.create_task(listen())
        try:
            async for response in coalesced(ready):
                yield response
        finally:
            listening.cancel()


async def serve(
    ingress: FakeIngress, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.aio.Server, str]:
    """A gRPC server for the ingress and its host:port."""
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    filter_grpc.add_FilterServiceServicer_to_server(FakeServicer(ingress), server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    return server, f"127.0.0.1:{port}"
