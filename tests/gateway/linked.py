"""A link in memory and transactions to ask about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.cells import CellConfig
from gateway.conversation import Budgets, Conversation, Unavailable
from gateway.discovery import no_lookup
from gateway.early import Stage
from gateway.link import Link, LinkSettings
from gateway.metrics import Metrics
from gateway.transaction import Client, Identity, Recipient, Transaction
from tamis.filter.v1 import message_pb2
from tamis.filter.v1 import verdict_pb2 as pb
from tests.gateway.fake_ingress import Cell
from wire.trace import TraceContext

BUDGETS = Budgets(ingress_s=5.0, early_s=dict.fromkeys(Stage, 5.0), verdict_s=20.0)


def transaction(*recipients: bytes, body: bytes = b"hello\r\n") -> Transaction:
    made = Transaction(
        identity=Identity(b"i" * 16, TraceContext(1, 2, sampled=False), 0, asyncio.get_running_loop().time()),
        client=Client(ip="192.0.2.7", helo=b"client.example"),
        auth_user=b"",
        direction=message_pb2.DIRECTION_INBOUND,
        tenant="",
        sender=b"anna@shop.example",
        esmtp_args=(),
    )
    made.recipients += [Recipient(address, (), "acme") for address in recipients]
    made.header_block = b"Subject: hello\r\n"
    made.body.append(body)
    return made


def settings(cell: Cell, *targets: str, budgets: Budgets = BUDGETS) -> LinkSettings:
    """One cell of those ingresses, dialled in memory."""
    return LinkSettings([one_cell(*(targets or cell.ingresses))], budgets, cell.dial, no_lookup)


def one_cell(*targets: str, name: str = "north", weight: float = 1.0, priority: int = 0) -> CellConfig:
    """In memory an ingress has a name instead of host:port."""
    return CellConfig(name=name, ingress=targets, weight=weight, priority=priority)


@asynccontextmanager
async def linked(cell: Cell, *targets: str, budgets: Budgets = BUDGETS) -> AsyncIterator[Link]:
    link = Link(settings(cell, *targets, budgets=budgets), Metrics())
    link.start()
    await asyncio.sleep(0.01)
    yield link
    await link.close()


async def judged(conversation: Conversation) -> pb.Verdict | Unavailable:
    return await conversation.verdict()
