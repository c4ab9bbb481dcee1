"""Debian's opendkim as the judge: what we sign it verifies, the other way round, and it chooses the keys we choose.

Bodies end with CRLF, as all do that came by SMTP: of a relaxed one that does not, opendkim says nothing at all.
Its RequireSafeKeys is off: it looks at the directories above a key, too, and refuses those below /tmp.
"""

import asyncio
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import dkim
import pytest

from actors.adapters.dkim_files import open_tables, read_rules
from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.canonical import BodyHashes
from actors.dkim.signature import field_tags
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import Disposition, decide_signing
from actors.dkim.signing.options import SigningOptions
from actors.dkim.signing.private_key import PrivateKey, load_private_key
from actors.dkim.signing.publication import key_record
from actors.dkim.signing.sign import Signer, sign
from actors.dkim.signing.tables import Address
from actors.model import Client as ModelClient
from actors.model import Envelope, Message, Outcome, Recipient, Stage
from bench.peers.processes import Missing, Server, program
from cli.edits import Mail
from cli.mail_file import prepare
from cli.mta import MtaOutcome, deliver_in_turn
from cli.mta_stages import Client, Manner
from tests.conftest import skip_or_fail
from tests.fakes import FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, ed25519_key, rsa_pem

pytestmark = pytest.mark.live

FORMS = list(itertools.product(("simple", "relaxed"), repeat=2))
BODIES = [BODY, b"", b"one line\r\n", b" \t \r\nx\t\t y \r\n\r\n\r\n", BODY * 400]
_CONFIG = """
Socket local:{socket}
Background no
AutoRestart no
Syslog no
PidFile {directory}/opendkim.pid
UserID root
RequireSafeKeys no
AlwaysAddARHeader yes
AuthservID judge.example
DNSTimeout 1
TestPublicKeys {directory}/published
{more}
"""


LOCAL = Client(hostname=b"localhost")


@dataclass
class Judge:
    """opendkim on a unix socket."""

    socket: Path

    def play(
        self, mails: Sequence[Mail], client: Client = LOCAL, macros: Mapping[bytes, bytes] | None = None
    ) -> list[MtaOutcome]:
        """What it made of each."""
        manner = Manner(macros=macros or {})
        outcomes = asyncio.run(deliver_in_turn(f"unix:{self.socket}", mails, client, manner))
        assert [outcome.error for outcome in outcomes] == [""] * len(mails)
        return outcomes


def keys() -> dict[str, PrivateKey]:
    """By algorithm; the selector is the key's type."""
    loaded = load_private_key(rsa_pem()), load_private_key(bytes(ed25519_key()))
    return {key.algorithm: key for key in loaded}


@contextmanager
def opendkim(directory: Path, settings: Mapping[str, str]) -> Iterator[Judge]:
    """Started in its directory, stopped at the end; it knows the keys of `keys()`, privately and publicly."""
    try:
        path = program("opendkim")
    except Missing as missing:
        skip_or_fail(str(missing))
    directory.mkdir(exist_ok=True)
    lines = [f"{key.key_type}._domainkey.example.org {key_record(key)}\n" for key in keys().values()]
    (directory / "published").write_text("".join(lines))
    for key in keys().values():
        (directory / f"{key.key_type}.private").write_bytes(key.pem())
        (directory / f"{key.key_type}.private").chmod(0o600)
    more = "\n".join(f"{name} {value}" for name, value in settings.items())
    socket = directory / "s"
    (directory / "conf").write_text(_CONFIG.format(socket=socket, directory=directory, more=more))
    server = Server("opendkim", [path, "-f", "-x", str(directory / "conf")], directory)
    try:
        server.wait_until(socket.exists, "it listens")
        yield Judge(socket)
    finally:
        os.kill(server.pid, signal.SIGKILL)  # libmilter looks after SIGTERM every five seconds only.
        server.stop()


def mail(headers: bytes = HEADERS, body: bytes = BODY, to: bytes = b"bob@example.net") -> Mail:
    return prepare(headers + b"\r\n" + body, b"alice@example.org", [to]).as_mail()


def results(outcome: MtaOutcome) -> list[bytes]:
    """The DKIM results in the Authentication-Results that it added."""
    clauses = outcome.added(b"Authentication-Results").split(b";")
    return [clause.split()[0] for clause in clauses if clause.strip().startswith(b"dkim=")]


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with opendkim(tmp_path_factory.mktemp("v"), {"Mode": "v"}) as judge:
        yield judge


@pytest.mark.parametrize("form", FORMS, ids="/".join)
def test_opendkim_verifies_what_we_sign(form: tuple[str, str], verifier: Judge) -> None:
    options = SigningOptions(relaxed_header=form[0] == "relaxed", relaxed_body=form[1] == "relaxed", ttl_s=86_400)
    signers = [Signer("example.org", key.key_type, key, "@example.org") for key in keys().values()]
    mails = []
    for body in BODIES:
        now_s = time.time()
        values = sign(Message(header_block=HEADERS).fields_by_name, BodyHashes(body), signers, options, now_s)
        mails.append(mail(b"".join(b"DKIM-Signature:%b\r\n" % value for value in values) + HEADERS, body))
    outcomes = verifier.play(mails)
    assert [results(outcome) for outcome in outcomes] == [[b"dkim=pass", b"dkim=pass"]] * len(BODIES)
    second_from = replace(mails[0], fields=((b"From", b" Eve <eve@example.org>"), *mails[0].fields))
    longer = replace(mails[0], body=mails[0].body + b"more\r\n")
    for outcome in verifier.play([second_from, longer]):
        assert b"dkim=pass" not in results(outcome)


@pytest.mark.parametrize("algorithm", ["rsa-sha256", "ed25519-sha256"])
@pytest.mark.parametrize("form", FORMS, ids="/".join)
def test_we_verify_what_opendkim_signs(form: tuple[str, str], algorithm: str, tmp_path: Path) -> None:
    key_type = algorithm.partition("-")[0]
    settings = {
        "Mode": "s",
        "Domain": "example.org",
        "Selector": key_type,
        "KeyFile": f"{tmp_path}/{key_type}.private",
        "Canonicalization": "/".join(form),
        "SignatureAlgorithm": algorithm,
        "OversignHeaders": "From,Reply-To",
    }
    with opendkim(tmp_path, settings) as judge:
        outcomes = judge.play([mail(body=body) for body in BODIES])
    zone = "\n".join(f'{key.key_type}._domainkey.example.org TXT "{key_record(key)}"' for key in keys().values())
    for outcome in outcomes:
        text = prepare(outcome.message)
        message = Message(Envelope(received_at_s=time.time()), text.header_block, text.body)
        (finding,) = asyncio.run(verified(message, zone))
        # Its Ed25519 signatures with a simple header hold for nobody, dkimpy and itself included.
        broken = algorithm == "ed25519-sha256" and form[0] == "simple"
        assert (finding.outcome, finding.facts["header.a"]) == (Outcome.FAIL if broken else Outcome.PASS, algorithm)
        if key_type == "ed25519":
            record = key_record(keys()[algorithm]).encode()
            assert dkim.verify(outcome.message, dnsfunc=lambda _name, timeout=5: record) is not broken  # noqa: ARG005, B023
        tags = field_tags(message.fields_by_name[b"dkim-signature"][0][1])
        assert tags[b"c"].decode() == "/".join(form)


async def verified(message: Message, zone: str) -> Sequence[object]:
    return await DkimActor(DkimConfig(), FakeResolver(zone), FakeClock()).examine(Stage.MESSAGE, message, budget())


# -- which keys, for which authors

_SIGNING = """
joe@foo.example.com k1
foo.example.com k2:@%
joe@.example.com k3:joe@sub.example.com
.example.com k4
joe@.com k5
.com k6
Ann@* %
* k7
other.example %
lone.example k8
"""
_PATTERNS = """
joe@foo.example.com k1
*@foo.*.com k2:@%
*@Example.com k3:joe@sub.example.com
j*@*.com k4
*@other.example %
*.example k6:@%
ann@* %
"""
_DOMAINS = ("example.com", "foo.example.com", "bar.foo.example.com", "foo.bar.com", "other.example", "lone.example")
_LOCALS = ("joe", "JOE", "jim", "ann", "x")


def authors() -> list[str]:
    """500 addresses near the tables' entries."""
    chance = random.Random(3)
    return [f"{chance.choice(_LOCALS)}{chance.choice(('', '', '1'))}@{chance.choice(_DOMAINS)}" for _ in range(500)]


def key_table(directory: Path) -> str:
    path = directory / "small.private"
    path.write_bytes(rsa_pem(1024))
    path.chmod(0o600)
    lines = [f"k{number} {'%' if number % 2 else 'example.com'}:s{number}:{path}" for number in range(1, 9)]
    return "\n".join([*lines, *(f"{domain} %:own:{path}" for domain in _DOMAINS)]) + "\n"


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize(("kind", "table"), [("file", _SIGNING), ("refile", _PATTERNS)])
def test_the_same_keys_are_chosen_for_500_authors(kind: str, table: str, multiple: bool, tmp_path: Path) -> None:  # noqa: FBT001
    (tmp_path / "keys").write_text(key_table(tmp_path))
    (tmp_path / "signing").write_text(table)
    settings = {
        "Mode": "s",
        "KeyTable": f"file:{tmp_path}/keys",
        "SigningTable": f"{kind}:{tmp_path}/signing",
        "MultipleSignatures": "yes" if multiple else "no",
    }
    config = SigningConfig(
        key_table=settings["KeyTable"], signing_table=settings["SigningTable"], multiple_signatures=multiple
    )
    tables = open_tables(config)
    with opendkim(tmp_path, settings) as judge:
        outcomes = judge.play([mail(f"From: <{author}>\r\nTo: b@example.net\r\n".encode()) for author in authors()])
    for author, outcome in zip(authors(), outcomes, strict=True):
        local, _, domain = author.partition("@")
        ours = asyncio.run(tables.requests(Address(local, domain)))
        signed = [field_tags(value) for name, value in outcome.added_headers if name == b"DKIM-Signature"]
        theirs = Counter((tags[b"d"].decode(), tags[b"s"].decode()) for tags in signed)
        # Of more than two matches Debian's opendkim signs with the first and the last alone; its manual says with all.
        used = [ours[0], ours[-1]] if len(ours) > 2 else ours
        assert Counter((one.domain, one.selector) for one in used) == theirs, author
        identities = {tags[b"s"].decode(): tags[b"i"].decode() for tags in signed if b"i" in tags}
        for one in used:
            if one.identity.endswith((f"@{one.domain}", f".{one.domain}")):
                assert identities[one.selector] == one.identity, author
            else:
                assert one.selector not in identities, author


# -- who signs

_HOSTS = (
    "10.0.0.0/8\n!10.1.0.0/16\n10.1.2.3\n192.0.2.7\n!192.0.2.8\n.inside.example\n!not.inside.example\n2001:db8::/32\n"
)
_HOST_PATTERNS = """
192.0.3.*
!192.0.3.9*
relay*.pattern.example
!relay3*
*.star.example
"""
_CLIENTS = (
    ("192.0.3.4", "a.example"),
    ("192.0.3.98", "a.example"),
    ("203.0.113.9", "relay1.pattern.example"),
    ("203.0.113.9", "relay3.pattern.example"),
    ("203.0.113.9", "x.star.example"),
    ("10.2.3.4", "x.star.example"),
    ("10.2.3.4", "a.example"),
    ("10.1.0.9", "a.example"),
    ("10.1.2.3", "a.example"),
    ("192.0.2.7", "a.example"),
    ("192.0.2.8", "a.example"),
    ("203.0.113.9", "mx.inside.example"),
    ("203.0.113.9", "not.inside.example"),
    ("203.0.113.9", "inside.example"),
    ("10.2.3.4", "not.inside.example"),
    ("10.1.0.9", "mx.inside.example"),
    ("2001:db8::5", "a.example"),
    ("2001:db9::5", "a.example"),
    ("198.51.100.1", "peer.example"),
    ("198.51.100.2", "mx.peers.example"),
)
_MACROS: tuple[dict[str, str], ...] = (
    {},
    {"auth_type": "PLAIN"},
    {"daemon_name": "submission"},
    {"level": "2"},
    {"level": "3"},
    {"trusted": "yes"},
)
_AUTHORS = ("alice@example.org", "eve@example.net", "x@exempt.example", "alice@sub.example.org")
_TO = ("bob@example.net", "plain@example.net")


@pytest.mark.parametrize("kind", ["file", "refile"])
def test_the_same_mail_is_signed_verified_and_left_alone(kind: str, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(_HOSTS + _HOST_PATTERNS)
    lists = {
        "KeyTable": f"csl:k=example.org:rsa:{tmp_path}/rsa.private",
        "SigningTable": "csl:example.org=k,exempt.example=k",
        "InternalHosts": f"{kind}:{tmp_path}/hosts",
        "PeerList": "198.51.100.1,.peers.example",
        "ExemptDomains": "exempt.example",
        "DontSignMailTo": "plain@example.net",
        "MTA": "submission",
        "MacroList": "level=1|2,trusted",
    }
    config = SigningConfig(
        key_table=lists["KeyTable"],
        signing_table=lists["SigningTable"],
        internal_hosts=lists["InternalHosts"],
        peer_list=lists["PeerList"],
        exempt_domains=lists["ExemptDomains"],
        dont_sign_mail_to=lists["DontSignMailTo"],
        mta=lists["MTA"],
        macro_list=lists["MacroList"],
    )
    rules, tables = asyncio.run(read_rules(config)), open_tables(config)
    seen: Counter[Disposition] = Counter()
    with opendkim(tmp_path, {"Mode": "sv", **lists}) as judge:
        for (ip, hostname), macros in itertools.product(_CLIENTS, _MACROS):
            cases = list(itertools.product(_AUTHORS, _TO))
            mails = [mail(f"From: <{author}>\r\n".encode(), to=to.encode()) for author, to in cases]
            told = {b"{%b}" % name.encode(): value.encode() for name, value in macros.items()}
            outcomes = judge.play(mails, Client(ip=ip, hostname=hostname.encode()), told)
            for (author, to), outcome in zip(cases, outcomes, strict=True):
                envelope = Envelope(
                    client=ModelClient(ip=ip, hostname=hostname.encode(), auth_type=macros.get("auth_type", "")),
                    recipients=(Recipient(to.encode()),),
                    daemon_name=macros.get("daemon_name", "smtpd"),
                )
                message = Message(envelope, f"From: <{author}>\r\n".encode())
                decision = asyncio.run(decide_signing(message, macros, rules, tables))
                assert decision.disposition is disposition(outcome), (ip, hostname, macros, author, to, decision.steps)
                seen[decision.disposition] += 1
    assert all(seen[one] > 50 for one in Disposition), seen


def disposition(outcome: MtaOutcome) -> Disposition:
    if outcome.added(b"DKIM-Signature"):
        return Disposition.SIGN
    return Disposition.VERIFY if outcome.added(b"Authentication-Results") else Disposition.IGNORE
