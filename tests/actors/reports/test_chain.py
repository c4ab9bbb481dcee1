"""From mail to report: the real actors with DNS from text, `decide`, the tally, the XML."""

import pytest
from lxml import etree

from actors.config import JudgementConfig, PolicyConfig
from actors.decide import decide
from actors.dkim.actor import DkimActor
from actors.examine import examine_all
from actors.model import Client, Envelope, Message, Recipient
from actors.policy.actor import PolicyActor
from actors.reports.report import make_report
from actors.reports.tally import Tally
from tests.actors.reports.samples import CONFIG, DAY
from tests.fakes import FakeClock, FakeReportStore, FakeResolver

ZONE = """
bounce.example.net TXT "v=spf1 ip4:192.0.2.0/24 -all"
_dmarc.example.net TXT "v=DMARC1; p=reject; sp=none; t=y; fo=1; rua=mailto:d@example.net"
_dmarc.silent.example TXT "v=DMARC1; p=reject"
_dmarc.exa&mple.net TXT "v=DMARC1; p=reject; rua=mailto:d@example.net"
"""


async def report_about(
    header_block: bytes, sender: bytes = b"b@bounce.example.net", config: JudgementConfig | None = None
) -> FakeReportStore:
    clock, resolver, config = FakeClock(), FakeResolver(ZONE), config or JudgementConfig()
    actors = (PolicyActor(config, resolver, None, clock), DkimActor(config.dkim, resolver, clock))
    envelope = Envelope(client=Client("192.0.2.1", helo=b"h"), sender=sender, recipients=(Recipient(b"a@mx.example"),))
    message = Message(envelope, header_block, b"text\r\n")
    findings = await examine_all(actors, message, clock, 5.0)
    store = FakeReportStore()
    tally = Tally(store, CONFIG, clock, lambda *_: None)  # type: ignore[arg-type, return-value]
    tally.note(decide(findings, message, config, expected=("policy", "dkim")), message)
    await tally.close()
    return store


def told(xml: bytes) -> dict[str, str]:
    return {etree.QName(one).localname: one.text or "" for one in etree.fromstring(xml).iter()}


async def test_a_message_is_told_as_it_was_checked() -> None:
    store = await report_about(b"From: Bo <bo@example.net>\r\n")
    counts = await store.counts(DAY, "example.net")
    assert counts is not None
    texts = told(make_report(CONFIG, DAY, counts).xml)
    expected = {
        "source_ip": "192.0.2.1",
        "count": "1",
        "p": "reject",
        "sp": "none",
        "testing": "y",
        "disposition": "pass",
        "spf": "\n        ",
        "result": "pass",
        "header_from": "example.net",
        "envelope_from": "bounce.example.net",
        "envelope_to": "mx.example",
        "discovery_method": "treewalk",
        "fo": "1",
    }
    assert {name: texts[name] for name in expected} == expected


async def test_who_judges_by_the_public_suffix_list_says_so() -> None:
    config = JudgementConfig(policy=PolicyConfig(dmarc_public_suffixes=True))
    store = await report_about(b"From: Bo <bo@example.net>\r\n", config=config)
    assert told(make_report(CONFIG, DAY, store.days[DAY]["example.net"]).xml)["discovery_method"] == "psl"


async def test_who_asks_for_no_reports_is_not_counted() -> None:
    assert not (await report_about(b"From: Bo <bo@silent.example>\r\n")).days
    assert not (await report_about(b"From: Bo <bo@elsewhere.example>\r\n")).days
    assert not (await report_about(b"From: Bo <bo@exa&mple.net>\r\n")).days, "no name for a file or a subject"


@pytest.mark.parametrize(
    ("header_block", "sender"),
    [
        (b"From: <bo@a]]&b.example.net>\r\n", b"b@bounce.example.net"),
        (b"From: <bo@a&lt;b.example.net>\r\n", b"<\"&'>@]]>.example.net"),
        (b'From: <bo@example.net>\r\nDKIM-Signature: v=1; d=<&.example.net; s="]]>; b=x\r\n', b"\x00@\xff\x01.example"),
        (
            b"From: <bo@example.net>\r\n" + b"DKIM-Signature: v=1; d=example.net; s=a; b=x\r\n" * 1000,
            b"b@" + b"x." * 2000,
        ),
    ],
)
async def test_mail_of_strangers_makes_valid_xml(header_block: bytes, sender: bytes) -> None:
    store = await report_about(header_block, sender)
    (counts,) = store.days[DAY].values()
    assert len(make_report(CONFIG, DAY, counts).xml) < 20_000
