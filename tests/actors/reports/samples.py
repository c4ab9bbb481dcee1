"""Things that the tests of reports are about: a reporter, a policy, rows, a message from the example domain."""

from typing import Any

import msgspec

from actors.model import Action, Client, Direction, Envelope, Finding, Message, Outcome, Recipient, Verdict
from actors.reports.config import DmarcReportConfig
from actors.reports.row import Counts, Published, Row

DAY = "20260101"
"""That of tests/fakes.py NOW_S."""
CONFIG = DmarcReportConfig(domain="mx.receiver.example", org_name="Receiver & Co", email="dmarc@receiver.example")
PUBLISHED = Published("example.org", "reject", "quarantine", "quarantine", "r", "r", "n", "treewalk")
ROW = Row(
    source_ip="192.0.2.1",
    header_from="news.example.org",
    envelope_from="bounce.example.org",
    envelope_to="receiver.example",
    disposition="pass",
    dkim="pass",
    spf="fail",
    reasons=(),
    signatures=(("example.org", "s1", "pass"),),
    spf_domain="bounce.example.org",
    spf_result="softfail",
)
COUNTS = Counts(PUBLISHED, {ROW: 3})

RECORD = {
    "domain": "news.example.org",
    "policy_domain": "example.org",
    "org_domain": "example.org",
    "p": "reject",
    "sp": "quarantine",
    "np": "",
    "adkim": "r",
    "aspf": "s",
    "testing": "no",
    "rua": "yes",
    "org:example.org": "example.org",
}


def row(**changed: Any) -> Row:
    return msgspec.structs.replace(ROW, **changed)


def record(**facts: str) -> Finding:
    return Finding("policy", "dmarc_record", Outcome.PASS, facts=RECORD | facts)


def dmarc(outcome: Outcome, aligned: str = "", policy: str = "quarantine") -> Finding:
    facts = {"header.from": "news.example.org", "policy.dmarc": policy, "aligned": aligned}
    return Finding("policy", "dmarc", outcome, detail="why", facts=facts)


def spf(outcome: Outcome = Outcome.SOFTFAIL, domain: str = "bounce.example.org") -> Finding:
    return Finding("policy", "spf", outcome, facts={"smtp.mailfrom": domain, "domain": domain})


def dkim(domain: str = "example.org", outcome: Outcome = Outcome.PASS, selector: str = "s1") -> Finding:
    return Finding("dkim", "dkim", outcome, facts={"header.d": domain, "header.s": selector})


PASSED = (record(), dmarc(Outcome.PASS, "dkim:example.org"), spf(), dkim())
FAILED = (record(), dmarc(Outcome.FAIL), spf(), dkim(outcome=Outcome.FAIL))


def verdict(*findings: Finding, action: Action = Action.ACCEPT) -> Verdict:
    return Verdict(action, findings=findings)


def message(ip: str = "192.0.2.1", sender: bytes = b"b@bounce.example.org", **envelope: Any) -> Message:
    told = {
        "client": Client(ip=ip, helo=b"host.example.org"),
        "direction": Direction.INBOUND,
        "sender": sender,
        "recipients": (Recipient(b"a@receiver.example"), Recipient(b"b@RECEIVER.example")),
    }
    return Message(Envelope(**(told | envelope)))
