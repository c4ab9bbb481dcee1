"""Messages of a chaos run that reach the gateways as Postfix would bring them, by the milter protocol."""

from collections.abc import Callable, Sequence

from bench.milter_load import make_unique
from bench.samples import CLIENT_IP
from cli.mta import MtaOutcome, Timeouts, deliver
from cli.mta_stages import Client, Manner
from tests.chaos.ledger import Sent
from tests.chaos.load import Specimen

CLIENT = Client(ip=CLIENT_IP)
TIMEOUTS = Timeouts(connect_s=30.0, command_s=60.0, content_s=90.0, message_s=150.0)
"""Far above what is promised: what is late must be seen as late, not as lost."""


class ByMilter:
    """Each message is a milter connection of its own, to the gateways in turn."""

    def __init__(self, milters: Sequence[str]) -> None:
        self._milters = milters

    async def send(self, number: int, queue_id: str, kind: Specimen, now_s: Callable[[], float]) -> Sent:
        """One message, with a queue id that both ends know it by."""
        began_s = now_s()
        mail = make_unique(kind.mail, queue_id.encode())
        manner = Manner(macros={b"i": queue_id.encode()})
        milter = self._milters[number % len(self._milters)]
        outcome = await deliver(milter, mail, CLIENT, manner, TIMEOUTS)
        return sent(queue_id, outcome, (began_s, now_s()), kind, milter)

    async def settled(self, sent: Sequence[Sent]) -> list[Sent]:
        """The same: a milter's answer is the end of it."""
        return list(sent)


def sent(queue_id: str, outcome: MtaOutcome, times_s: tuple[float, float], kind: Specimen, milter: str) -> Sent:
    """What the ledger keeps of an outcome."""
    early = [step.wait_s for step in outcome.steps if step.command != "BODYEOB"]
    return Sent(
        queue_id=queue_id,
        began_s=times_s[0],
        ended_s=times_s[1],
        action="" if outcome.error else outcome.action,
        bytes=len(kind.mail.raw),
        harmful=kind.harmful,
        blocked=kind.blocked,
        milter=milter,
        waited_s=outcome.end_of_message_s,
        early_waited_s=max(early, default=0.0),
        scanned=bool(outcome.added(b"X-Spam-Status") and outcome.added(b"Authentication-Results")),
        degraded=outcome.added(b"X-Tamis-Degraded").decode(errors="replace"),
        unfiltered=outcome.added(b"X-Tamis-Unfiltered").decode(errors="replace"),
        reply=outcome.reply.decode(errors="replace"),
        error=outcome.error,
    )
