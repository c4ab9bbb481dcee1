"""One piece of hostile mail with what must come of it, and the envelope that most of them come in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.config import JudgementConfig
from actors.model import Client, Envelope, Message, Outcome, Recipient
from tests.fakes import NOW_S, FakeResolver
from tests.signing import BODY, zone

CLIENT_IP = "192.0.2.25"
ENVELOPE = Envelope(
    client=Client(CLIENT_IP, hostname=b"mail.example.org", helo=b"mail.example.org"),
    sender=b"alice@example.org",
    recipients=(Recipient(b"bob@example.net"),),
    received_at_s=NOW_S,
    mta_name="mx.example.net",
)
SPF = f'example.org TXT "v=spf1 ip4:{CLIENT_IP} -all"'
DMARC = '_dmarc.example.org TXT "v=DMARC1; p=reject"'
CONFIG = JudgementConfig()


@dataclass(frozen=True, slots=True)
class Case:
    """A message, its DNS, and by the name of a finding what it may come to."""

    message: Message
    expected: Mapping[str, tuple[Outcome, ...]]
    zone: str = field(default_factory=lambda: f"{zone()}\n{SPF}\n{DMARC}")
    failing: tuple[str, ...] = ()
    """Names for which DNS fails; "*" is all."""
    config: JudgementConfig = CONFIG

    def resolver(self) -> FakeResolver:
        """Its DNS."""
        return FakeResolver(self.zone, self.failing)


def mail(headers: bytes, body: bytes = BODY, envelope: Envelope = ENVELOPE) -> Message:
    """A message in that envelope, or in another."""
    return Message(envelope, headers, body)
