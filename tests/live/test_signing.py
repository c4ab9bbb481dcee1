"""Mail that is ours on its whole way: Postfix, gateway and cell sign it, Debian's opendkim and `tamis dkim` verify it.

Header sections are signed in the form simple, which forgives no byte: what the cell signs is what Postfix sends.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import dkim
import pytest

from actors.dkim.signing.publication import key_record
from bench.nameserver import Zone, txt_rdata
from bench.postfix import Postfix, why_not
from bench.stack import Stack, StackOptions, wait_for
from cli.mail_file import prepare
from tests.conftest import skip_or_fail
from tests.live.test_opendkim import Judge, keys, opendkim, results

pytestmark = [pytest.mark.live, pytest.mark.postfix, pytest.mark.timeout(300)]

SETTINGS = """
[dkim.signing]
key_table = "file:{directory}/keys"
signing_table = "refile:{directory}/signing"
multiple_signatures = true
require_safe_keys = true
canonicalization = "simple/simple"
seal = "listed"
seal_mail_to = "csl:forward@recipient.example"
seal_key = "example.org:rsa:{directory}/rsa.private"
[policy]
rewrite_subject_score = 5.0
[policy.symbol_points]
"dkim.signing.pass" = 6.0
"""
PLAIN = (
    b"From: Alice <alice@example.org>\r\nTo: reader@recipient.example\r\nSubject: plain\r\n"
    b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <plain@example.org>\r\n\r\nDear reader,\r\n\r\n.dot\r\n"
)
EDITED = (
    b"Authentication-Results: MX.recipient.example; dkim=pass header.d=bank.example\r\n"
    b"X-Spam-Flag: NO\r\nX-Spam-Status:No,\r\n\ttests=[]\r\n"
    b"Authentication-Results: other.example; dkim=pass header.d=foreign.example\r\n"
    b"From: Alice <alice@example.org>\r\nTo: reader@recipient.example\r\n"
    b"Subject:   folded \t twice\r\n\tand  with blanks \r\n"
    b"authentication-results: mx.recipient.example; spf=pass\r\n"
    b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID:<edited@example.org>\r\n\r\n\r\nDear reader, \r\n\r\n\r\n"
)
LARGE = PLAIN.replace(b"plain", b"large") + b"0123456789 abcdefghij ABCDEFGHIJ\r\n" * 90_000


def zone() -> Zone:
    records = {f"{key.key_type}._domainkey.example.org": key_record(key).encode() for key in keys().values()}
    return {(name, "TXT"): [txt_rdata(record)] for name, record in records.items()}


@dataclass
class Site:
    """A cell that signs for example.org, with a Postfix before it and a judge behind."""

    directory: Path
    stack: Stack
    postfix: Postfix
    judge: Judge

    def arrived(self, raw: bytes, **options: object) -> bytes:
        before = len(self.postfix.sink.messages)
        code, text = self.postfix.send(raw, **options)  # type: ignore[arg-type]
        assert code == 250, f"{text}\n{self.stack.log[-2000:]}"
        return self.postfix.delivered(before + 1)[before]

    def opendkim_says(self, raw: bytes) -> list[bytes]:
        mail = prepare(raw, b"alice@example.org", [b"reader@recipient.example"]).as_mail()
        return results(self.judge.play([mail])[0])

    def tamis_says(self, raw: bytes) -> str:
        (self.directory / "mail").write_bytes(raw)
        lines = [f"{name} {kind} {rdata}\n" for (name, kind), (rdata,) in zone().items()]
        (self.directory / "zone").write_text("".join(lines))
        options = ["--dns-zone", str(self.directory / "zone"), str(self.directory / "mail")]
        command = [sys.executable, "-m", "cli", "dkim", "verify", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    reason = why_not()
    if reason:
        skip_or_fail(reason)
    directory = tmp_path_factory.mktemp("signing")
    with ExitStack() as stack:
        judge = stack.enter_context(opendkim(directory, {"Mode": "v"}))
        lines = [
            f"{one.key_type} example.org:{one.key_type}:{directory}/{one.key_type}.private\n" for one in keys().values()
        ]
        (directory / "keys").write_text("".join([*lines, f"lost lost.example:s:{directory}/lost.private\n"]))
        (directory / "signing").write_text("*@example.org rsa\n*@example.org ed25519\n*@lost.example lost\n")
        tamis = stack.enter_context(Stack(zone(), StackOptions(extra=SETTINGS.format(directory=directory))))
        postfix = stack.enter_context(Postfix(tamis.milter))
        yield Site(directory, tamis, postfix, judge)


@pytest.mark.parametrize("raw", [PLAIN, EDITED, LARGE], ids=["plain", "edited", "large"])
def test_what_arrives_is_signed_twice_and_both_verifiers_agree(raw: bytes, site: Site) -> None:
    arrived = site.arrived(raw)
    assert arrived.count(b"\r\nDKIM-Signature:") + arrived.startswith(b"DKIM-Signature:") == 2
    assert site.opendkim_says(arrived) == [b"dkim=pass", b"dkim=pass"]
    assert site.tamis_says(arrived).count("dkim=pass") == 2
    changed = arrived.replace(b"Subject: [SPAM] ", b"Subject: ")
    assert changed != arrived
    assert b"dkim=pass" not in site.opendkim_says(changed)


def test_it_is_signed_with_the_edits_of_the_verdict(site: Site) -> None:
    message = message_from_bytes(site.arrived(EDITED))
    told = message.get_all("Authentication-Results", [])
    assert not any("bank.example" in value for value in told)
    assert any("foreign.example" in value for value in told)
    assert message["Subject"].startswith("[SPAM] folded")
    assert message.get_all("X-Spam-Flag") == ["YES"]


def test_a_strangers_mail_is_not_signed(site: Site) -> None:
    assert b"DKIM-Signature" not in site.arrived(PLAIN, client_ip="192.0.2.25")


def test_mail_whose_key_is_not_there_comes_again(site: Site) -> None:
    code, text = site.postfix.send(PLAIN.replace(b"alice@example.org", b"bob@lost.example"))
    assert (code, text.split()[0]) == (451, "4.7.0")


def test_a_selector_is_switched_in_the_running_cell(site: Site) -> None:
    table = site.directory / "keys"
    before = table.read_text()
    table.write_text(before.replace("example.org:rsa:", "example.org:next:"))
    try:
        deadline = time.monotonic() + 30
        while b"s=next;" not in site.arrived(PLAIN) and time.monotonic() < deadline:
            time.sleep(1)
        assert b"s=next;" in site.arrived(PLAIN)
    finally:
        table.write_text(before)


def test_no_key_is_in_the_log_or_in_a_trace(site: Site) -> None:
    site.arrived(PLAIN)
    spans = site.stack.receiver.spans
    assert wait_for(lambda: any(span.attributes.get("stage") == "sign" for span in spans))
    told = site.stack.log + str(spans)
    secrets = [line for key in keys().values() for line in key.pem().decode().splitlines()[1:-1]]
    assert not [line for line in secrets if line in told]


def test_mail_that_is_forwarded_is_sealed_twice_and_the_chain_holds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By two hops in turn, both of them ours; dkimpy and `tamis dkim verify` validate what arrives."""
    raw = PLAIN
    for number in (1, 2):
        raw = site.arrived(raw, client_ip="192.0.2.25", recipients=["forward@recipient.example"])
        assert raw.startswith(b"ARC-Seal: a=rsa-sha256;") or b"\r\nARC-Seal: a=rsa-sha256;" in raw
        assert f"ARC-Authentication-Results: i={number}; mx.recipient.example".encode() in raw
        assert "arc=pass" in site.tamis_says(raw)
    record = next(key_record(key) for key in keys().values() if key.key_type == "rsa").encode()
    monkeypatch.setattr(dkim, "RSASSA_PKCS1_v1_5_verify", dkim.crypto.RSASSA_PKCS1_v1_5_verify)
    verdict, _, reason = dkim.arc_verify(raw, dnsfunc=lambda _name, **_: record)
    assert verdict == dkim.CV_Pass, reason
