"""`tamis import` against Debian's opendkim: what was imported chooses the same keys and signs the same fields."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from actors.adapters.dkim_sources import SigningSources
from actors.dkim.canonical import BodyHashes
from actors.dkim.signature import field_tags
from actors.dkim.signing.decision import decide_signing
from actors.dkim.signing.sign import Signer, sign
from actors.dkim.signing.tables import SigningRequest
from actors.model import Client as ModelClient
from actors.model import Envelope, Message
from cli.__main__ import main
from cli.config import TamisConfig, load_config
from tests.fakes import FakeClock
from tests.live.test_opendkim import keys, mail, opendkim
from tests.signing import BODY, rsa_pem

pytestmark = pytest.mark.live

_DOMAINS = [f"customer{number}.example" for number in range(40)]
_SIGNING = "\n".join(
    [
        "sales@customer0.example special:sales@%",
        *(f"*@customer{number}.example customer{number}" for number in range(30)),
        "*@*.customer1.example sub",
        "*@customer3?.example wrong",
        "post*@customer31.example customer1:@%",
    ]
)


def write_conf(directory: Path, *lines: str) -> dict[str, str]:
    """A configuration in two files, and what the scaffolding has to say to opendkim for it."""
    (directory / "tables.conf").write_text("\n".join(lines) + "\n")
    (directory / "opendkim.conf").write_text(
        f"Mode s\nUserID opendkim\nSocket local:/run/opendkim/s\nSyslog yes\nInclude {directory}/tables.conf\n"
    )
    return {"Mode": "s", "Include": f"{directory}/tables.conf"}


def imported(directory: Path, *words: str) -> TamisConfig:
    with pytest.raises(SystemExit) as ended:
        main(["import", str(directory / "opendkim.conf"), "--out", str(directory / "tamis.toml"), *words])
    assert ended.value.code in (None, 0)
    return load_config(directory / "tamis.toml")


def requests(config: TamisConfig, authors: list[str]) -> list[tuple[SigningRequest, ...]]:
    """What the whole decision says of mail from this host."""

    async def decide() -> list[tuple[SigningRequest, ...]]:
        sources = SigningSources(config.dkim.signing, config.redis, FakeClock())
        rules = await sources.rules()
        envelope = Envelope(client=ModelClient(ip="127.0.0.1", hostname=b"localhost"))
        messages = [Message(envelope, f"From: <{author}>\r\n".encode()) for author in authors]
        found = [(await decide_signing(message, {}, rules, sources.tables)).requests for message in messages]
        await sources.close()
        return found

    return asyncio.run(decide())


def compare(directory: Path, settings: dict[str, str], config: TamisConfig, authors: list[str]) -> Counter[int]:
    """How many mails have how many signatures, after the comparison."""
    with opendkim(directory, settings) as judge:
        outcomes = judge.play([mail(f"From: <{author}>\r\nTo: b@example.net\r\n".encode()) for author in authors])
    seen: Counter[int] = Counter()
    for author, outcome, ours in zip(authors, outcomes, requests(config, authors), strict=True):
        signed = [field_tags(value) for name, value in outcome.added_headers if name == b"DKIM-Signature"]
        theirs = [(tags[b"d"].decode(), tags[b"s"].decode()) for tags in signed]
        assert [(one.domain, one.selector) for one in ours] == theirs, author
        seen[len(theirs)] += 1
    return seen


def test_a_provider_s_tables_choose_the_same_keys_for_500_authors(tmp_path: Path) -> None:
    path = tmp_path / "small.private"
    path.write_bytes(rsa_pem(1024))
    path.chmod(0o600)
    names = [*(f"customer{number}" for number in range(30)), "special", "sub", "wrong"]
    (tmp_path / "KeyTable").write_text("".join(f"{name} %:{name}:{path}\n" for name in names))
    (tmp_path / "SigningTable").write_text(_SIGNING)
    settings = write_conf(
        tmp_path,
        f"KeyTable refile:{tmp_path}/KeyTable",
        f"SigningTable refile:{tmp_path}/SigningTable",
        "InternalHosts 127.0.0.1,::1,localhost",
        "Canonicalization relaxed/relaxed",
        "OversignHeaders From",
    )
    chance = random.Random(5)
    hosts = (*_DOMAINS, "a.customer1.example", "b.customer2.example", "customer31.example", "customer3?.example")
    locals_ = ("sales", "post", "postmaster", "joe", "Sales")
    authors = [f"{chance.choice(locals_)}@{chance.choice(hosts)}" for _ in range(500)]
    seen = compare(tmp_path, settings, imported(tmp_path), authors)
    assert seen[0] > 50
    assert seen[1] > 300


@pytest.mark.parametrize(
    ("domain", "subdomains", "as_files"),
    [
        ("example.org,sub.example.org", "yes", False),
        ("example.org,sub.example.org", "no", True),
        ("file:{}/domains", "yes", True),
        ("refile:{}/patterns", "no", True),
        ("*", "no", False),
        ("example.org,*", "yes", False),
        ("refile:{}/stars", "yes", True),
    ],
)
def test_one_key_signs_for_the_same_domains(domain: str, subdomains: str, as_files: bool, tmp_path: Path) -> None:  # noqa: FBT001
    (tmp_path / "domains").write_text("# ours\nexample.org\nSub.Example.org\n")
    (tmp_path / "patterns").write_text("example.*\n*.sub.example.org\n")
    (tmp_path / "stars").write_text("example.org\n*\n")
    settings = write_conf(
        tmp_path,
        f"Domain {domain.format(tmp_path)}",
        "Selector rsa",
        f"KeyFile {tmp_path}/rsa.private",
        f"SubDomains {subdomains}",
    )
    hosts = (
        "example.org",
        "x.example.org",
        "sub.example.org",
        "x.sub.example.org",
        "y.x.sub.example.org",
        "example.net",
    )
    words = ("--out-dir", str(tmp_path)) if as_files else ()
    seen = compare(tmp_path, settings, imported(tmp_path, *words), [f"a@{host}" for host in hosts])
    assert bool(seen[0]) is not ("*" in domain or "stars" in domain)
    assert seen[1] > 1


@pytest.mark.parametrize(
    ("sign_headers", "oversign_headers"),
    [("*,+x-tag,-subject", "From,X-Other"), ("from,to,x-tag", "from,x-tag,subject"), ("*", "From")],
)
def test_the_same_fields_are_signed(sign_headers: str, oversign_headers: str, tmp_path: Path) -> None:
    settings = write_conf(
        tmp_path,
        f"SignHeaders {sign_headers}",
        "OmitHeaders *,+cc",
        f"OversignHeaders {oversign_headers}",
        "Domain example.org",
        "Selector rsa",
        f"KeyFile {tmp_path}/rsa.private",
    )
    config = imported(tmp_path)
    names = (
        *("Return-Path", "Received", "Comments", "Reply-To", "Subject", "Date", "To", "Cc", "Message-ID", "Sender"),
        *("In-Reply-To", "References", "MIME-Version", "Content-Type", "Resent-Date", "Resent-From", "Resent-Sender"),
        *("Resent-To", "Resent-Cc", "Resent-Message-ID", "List-Id", "List-Help", "List-Unsubscribe", "List-Subscribe"),
        *("List-Post", "List-Owner", "List-Archive", "X-Tag", "X-Other"),
    )
    headers = "From: a@example.org\r\n" + "".join(f"{name}: <x@example.org>\r\n" for name in names)
    with opendkim(tmp_path, settings) as judge:
        (outcome,) = judge.play([mail(headers.encode())])
    theirs = field_tags(outcome.added(b"DKIM-Signature"))[b"h"]
    signer = Signer("example.org", "rsa", keys()["rsa-sha256"])
    fields = Message(header_block=headers.encode()).fields_by_name
    (value,) = sign(fields, BodyHashes(BODY), [signer], config.dkim.signing.options(), 0)
    ours = field_tags(value)[b"h"]
    # A field that is oversigned and not signed makes opendkim's signature invalid, says its manual; we sign it.
    unsigned = {*config.dkim.signing.oversign_headers} - {*config.dkim.signing.sign_headers}
    assert Counter(fields_of(ours)) == Counter(fields_of(theirs)) + Counter(name.encode() for name in unsigned)


def fields_of(h: bytes) -> list[bytes]:
    return [name.strip().lower() for name in h.split(b":")]
