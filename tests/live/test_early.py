"""The deny lists at CONNECT, HELO, MAIL and RCPT: gateway, ingress and policy actor as shipped."""

import asyncio

import pytest

from bench.samples import SampleMaker
from bench.stack import Stack, StackOptions
from tests.gateway.mta import Mta
from wire.milter import TcpAddress, parse_listen
from wire.milter import constants as c
from wire.milter import events as ev

pytestmark = pytest.mark.live

DENIED = ev.ReplyCode(b"550 5.7.1 Access denied")
SETTINGS = """
[gateway.early]
stages = ["connect", "helo", "mail", "rcpt"]
[policy.lists]
deny_clients = "192.0.2.66"
deny_helos = ".evil.example"
deny_senders = "spam.example"
deny_recipients = "eve@recipient.example"
"""


async def replies(stack: Stack, ip: bytes, helo: bytes, sender: bytes, recipient: bytes) -> list[ev.Reply | None]:
    """To CONNECT, HELO, MAIL and RCPT."""
    address = parse_listen(stack.milter)
    assert isinstance(address, TcpAddress)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    mta = Mta(writer.write, lambda: reader.read(65_536))
    await mta.say(ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS))
    commands = (ev.Connect(b"x", c.SMFIA_INET, 2525, ip), ev.Helo(helo), ev.Mail(sender), ev.Recipient(recipient))
    heard = [await mta.say(command) for command in commands]
    writer.close()
    return heard


def test_each_list_refuses_at_its_stage_and_later(maker: SampleMaker) -> None:
    known = (b"192.0.2.1", b"mail.client.example", b"<a@client.example>", b"<reader@recipient.example>")
    bad = (b"192.0.2.66", b"mx.evil.example", b"<a@spam.example>", b"<eve@recipient.example>")
    with Stack(maker.zone(), StackOptions(extra=SETTINGS)) as stack:
        assert asyncio.run(replies(stack, *known)) == [ev.Continue()] * 4
        for stage, value in enumerate(bad):
            said = [*known]
            said[stage] = value
            heard = asyncio.run(replies(stack, *said))
            assert heard[:stage] == [ev.Continue()] * stage
            if stage == 3:
                assert heard[3] == ev.ReplyCode(b"550 5.7.1 Recipient refused")
            else:
                assert heard[stage:] == [DENIED] * (4 - stage)
