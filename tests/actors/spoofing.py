"""An attacker with a domain of his own in good order, and what is made of his mail."""

from actors.config import JudgementConfig, Lists, PolicyConfig
from actors.decide import decide
from actors.decide.dmarc import evaluate_dmarc
from actors.dkim.actor import DkimActor
from actors.examine import examine_all
from actors.model import Client, Envelope, Finding, Message, Verdict
from actors.policy.actor import PolicyActor
from tests.fakes import NOW_S, FakeClock, FakeResolver
from tests.signing import BODY, dkim_sign, rsa_record

PROVEN = JudgementConfig(policy=PolicyConfig(lists=Lists(proven_authors=("legitimate.example",))))
REJECTING = JudgementConfig(policy=PolicyConfig(dmarc_reject=True))

ATTACKER_IP = "192.0.2.66"
ZONE = f"""
attack.example TXT "v=spf1 ip4:{ATTACKER_IP} -all"
sub.attack.example TXT "v=spf1 ip4:{ATTACKER_IP} -all"
helo.attack.example TXT "v=spf1 ip4:{ATTACKER_IP} -all"
rsa._domainkey.attack.example TXT "{rsa_record()}"
rsa._domainkey.legitimate.example.attack.example TXT "{rsa_record()}"
_dmarc.attack.example TXT "v=DMARC1; p=reject"
legitimate.example TXT "v=spf1 ip4:198.51.100.1 -all"
_dmarc.legitimate.example TXT "v=DMARC1; p=reject"
"""
REST = b"To: bob@example.net\r\nSubject: hello\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n"
OWN = b"From: <eve@attack.example>\r\n"
SPOOFED = b"From: <admin@legitimate.example>\r\n"


def mail(author: bytes, sender: bytes, helo: bytes = b"helo.attack.example", **tags: str | None) -> Message:
    """What the attacker sends, signed for his own domain."""
    headers = author + REST
    signed = dkim_sign(headers, BODY, **{"d": "attack.example", "h": "From:To:Subject", **tags}) + headers
    return Message(Envelope(client=Client(ATTACKER_IP, helo=helo), sender=sender, received_at_s=NOW_S), signed, BODY)


async def examined(message: Message, config: JudgementConfig, failing: tuple[str, ...] = ()) -> list[Finding]:
    resolver, clock = FakeResolver(ZONE, failing), FakeClock()
    actors = [DkimActor(config.dkim, resolver, clock), PolicyActor(config, resolver, None, clock)]
    return await examine_all(actors, message, clock, 20.0)


async def judged(author: bytes, sender: bytes, config: JudgementConfig) -> Verdict:
    message = mail(author, sender)
    return decide(await examined(message, config), message, config)


async def dmarc(
    author: bytes,
    sender: bytes = b"eve@attack.example",
    helo: bytes = b"helo.attack.example",
    **tags: str | None,
) -> tuple[Finding, list[Finding]]:
    """(the finding dmarc, all others) of a mail that the attacker has signed for his own domain."""
    findings = await examined(mail(author, sender, helo, **tags), JudgementConfig())
    conclusion = evaluate_dmarc(findings)
    assert conclusion is not None
    return conclusion, findings
