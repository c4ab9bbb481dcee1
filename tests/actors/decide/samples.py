"""A message, findings about it and configurations, for the tests of the verdict."""

from actors.config import ErrorPolicy, JudgementConfig, PolicyConfig
from actors.model import Envelope, Finding, Message, Outcome, Recipient

CONFIG = JudgementConfig()
MESSAGE = Message(
    Envelope(mta_name="mx.example.org", sender=b"bo@example.net", recipients=(Recipient(b"ann@example.org"),)),
    b"From: bo@example.net\r\nSubject: hello\r\n",
    b"text\r\n",
)
INFECTED = Finding("antivirus", "clamav", Outcome.INFECTED, detail="Eicar-Signature")
GTUBE = Finding("policy", "gtube", Outcome.HIT)
SPAM = Finding("classifier", "spam", Outcome.SPAM, 0.97)
HAM = Finding("classifier", "spam", Outcome.HAM, 0.001)
SPF_PASS = Finding("policy", "spf", Outcome.PASS, facts={"smtp.mailfrom": "example.net", "domain": "example.net"})
SPF_FAIL = Finding("policy", "spf", Outcome.FAIL, facts={"smtp.mailfrom": "example.net", "domain": "example.net"})
REJECT_RECORD = Finding(
    "policy",
    "dmarc_record",
    Outcome.PASS,
    facts={"domain": "example.net", "policy_domain": "example.net", "org_domain": "example.net", "p": "reject"},
)


def hit(name: str, **facts: str) -> Finding:
    return Finding("policy", name, Outcome.HIT, detail="listed as x", facts=facts)


def policy(**settings: object) -> JudgementConfig:
    return JudgementConfig(policy=PolicyConfig(**settings))  # type: ignore[arg-type]


def on_error(**answers: str) -> JudgementConfig:
    return policy(on_error=ErrorPolicy(**answers))
