"""Messages of a chaos run that go the whole way: by SMTP to a Postfix, which asks the gateway, and on to a sink.

Strategy: each message is a connection, and a recipient, of its own. What the client heard is only the beginning: once
all has an answer, the books of the sink are read too. What was accepted must have arrived, what was not must not have.
A client that heard nothing keeps its message, unless it arrived. The queue id, by which the gateway knows a message,
is in Postfix's answer, or in its log where the message was refused.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.milter_load import make_unique
from bench.postfix import Postfix
from bench.samples import CLIENT_IP
from bench.smtp_client import Reply, SmtpClient, SmtpError
from tests.chaos.ledger import Sent
from tests.chaos.load import Specimen
from tests.chaos.sink import Arrival, arrivals

ARRIVAL_S = 30.0
"""Postfix tries again every second."""
# Not of the gateway: milter_default_action, and what is said when a daemon behind smtpd has died.
_OF_POSTFIX = ("Service unavailable - try again later", "Error: queue file write error", "Server configuration error")
_REFUSED = re.compile(r": (\w+): milter-reject: END-OF-MESSAGE .* to=<([^>]+)>")
_ACTIONS = {2: "accept", 4: "tempfail", 5: "reject"}


class BySmtp:
    """Mail for a Postfix whose accepted mail is written to a file."""

    def __init__(self, postfix: Postfix, file: Path) -> None:
        self._postfix = postfix
        self._file = file

    async def send(self, _number: int, serial: str, kind: Specimen, now_s: Callable[[], float]) -> Sent:
        """One message; its queue id is the recipient until `settled`."""
        recipient = f"{serial.lower()}@recipient.example"
        began_s, waits_s = now_s(), [0.0, 0.0]
        try:
            reply = await self._exchange(recipient, kind, serial, waits_s, now_s)
            error = ""
        except (OSError, SmtpError, TimeoutError) as failure:
            reply, error = Reply(0, ""), f"{type(failure).__name__}: {failure}"
        return Sent(
            queue_id=recipient,
            began_s=began_s,
            ended_s=now_s(),
            action=_ACTIONS.get(reply.code // 100, ""),
            bytes=len(kind.mail.raw),
            harmful=kind.harmful,
            waited_s=waits_s[1],
            early_waited_s=waits_s[0],
            unheard=not reply.code or reply.text.endswith(_OF_POSTFIX),
            reply=f"{reply.code} {reply.text}",
            error=error,
        )

    async def _exchange(
        self, recipient: str, kind: Specimen, serial: str, waits_s: list[float], now_s: Callable[[], float]
    ) -> Reply:
        """The reply that decided; `waits_s` gets the longest wait before the end of the message, and the one after."""
        client = await SmtpClient.open("127.0.0.1", self._postfix.port, client_ip=CLIENT_IP)
        try:
            for line in (f"MAIL FROM:<{kind.mail.sender.decode()}>", f"RCPT TO:<{recipient}>", "DATA"):
                asked_s = now_s()
                reply = await client.command(line)
                waits_s[0] = max(waits_s[0], now_s() - asked_s)
                if reply.code >= 400:
                    return reply
            asked_s = now_s()
            reply = await client.content(make_unique(kind.mail, serial.encode()).raw)
            waits_s[1] = now_s() - asked_s
            return reply
        finally:
            client.close()

    async def settled(self, sent: Sequence[Sent]) -> list[Sent]:
        """What became of them: wait until all that was accepted has arrived, then read both books."""
        wanted = {one.queue_id for one in sent if one.action == "accept"}
        deadline_s = time.monotonic() + ARRIVAL_S
        there = arrivals(self._file)
        while wanted - there.keys() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.5)
            there = arrivals(self._file)
        refused = {recipient: queue_id for queue_id, recipient in _REFUSED.findall(self._postfix.log)}
        return [became for one in sent for became in settle(one, there.get(one.queue_id, ()), refused)]


def settle(sent: Sent, copies: Sequence[Arrival], refused: Mapping[str, str]) -> list[Sent]:
    """What the ledger keeps of a message, which arrived in these copies; `refused` are queue ids by recipient.

    Two entries of one queue id when Postfix took it twice. What it brought twice, since it or the sink died over it, is
    behind the filter.
    """
    if sent.action == "accept" and not copies:
        return [replace(sent, action="", error=f"{sent.reply}, and it never arrived")]
    if not copies:
        action = sent.action or "tempfail"
        return [replace(sent, action=action, error="", queue_id=refused.get(sent.queue_id, sent.queue_id))]
    return [
        replace(
            sent,
            action="accept",
            error="",
            queue_id=copies[0].queue_id,
            scanned=copy.scanned,
            degraded=copy.degraded,
            unfiltered=copy.unfiltered,
        )
        for copy in {copy.queue_id: copy for copy in copies}.values()
    ]
