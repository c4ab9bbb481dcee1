"""actors/dkim/sealer.py and the dkim actor: mail that goes on gets an ARC set over what leaves."""

from collections.abc import Sequence

import dkim
import pytest

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.sealer import MailSealer
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.hosts import HostList
from actors.dkim.signing.private_key import generate_ed25519
from actors.dkim.signing.signer import MailSigner
from actors.dkim.signing.tables import Entry, NamedTable
from actors.model import Client, Direction, Envelope, Finding, Message, Outcome, Recipient, Stage
from tests.actors.dkim.signing.world import Keys, Source
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, rsa_record, signed_message, zone

RESULTS = b"Authentication-Results: mx.example.net;\r\n\tspf=pass smtp.mailfrom=a@example.org\r\n"
RULES = SigningRules(internal_hosts=HostList([]), seal_mail_to=NamedTable([Entry("list@example.net", "")]))


def config(seal: str = "listed", **more: str) -> SigningConfig:
    return SigningConfig(seal=seal, seal_mail_to="csl:list@example.net", seal_key="example.org:rsa:/rsa", **more)  # type: ignore[arg-type]


def actor(settings: SigningConfig, source: Source, resolver: FakeResolver | None = None) -> DkimActor:
    clock, whole = FakeClock(), DkimConfig(signing=settings)
    signer = MailSigner(settings, source, clock, MailSealer(whole, "mx.example.net"))
    return DkimActor(whole, resolver or FakeResolver(zone()), clock, signer=signer)


def mail(
    headers: bytes = HEADERS, to: bytes = b"list@example.net", direction: Direction = Direction.INBOUND
) -> Message:
    envelope = Envelope(
        client=Client(ip="203.0.113.9"), recipients=(Recipient(to),), direction=direction, received_at_s=NOW_S
    )
    return Message(envelope, headers, BODY)


async def told(settings: SigningConfig, message: Message, resolver: FakeResolver | None = None) -> list[Finding]:
    source = Source(rules=RULES)
    source.signing = NamedTable([])
    found = await actor(settings, source, resolver).examine(Stage.MESSAGE, message, budget())
    return [one for one in found if one.name in ("sealing", "signing")]


async def leaves(
    settings: SigningConfig, message: Message, source: Source | None = None
) -> tuple[Message, Sequence[Finding]]:
    """The message with our results and its set on top, and what was found when that was made."""
    known = await told(settings, message)
    block = RESULTS + message.header_block
    source = source or Source(rules=RULES)
    found = await actor(settings, source).examine(
        Stage.SIGN, Message(message.envelope, block, b"", tuple(known)), budget()
    )
    fields = [
        f"{one.facts['field']}: {one.facts['value']}\r\n".encode() for one in found if one.outcome is Outcome.PASS
    ]
    return Message(message.envelope, b"".join(fields) + block, message.body), found


async def chain_of(message: Message) -> Outcome:
    found = await DkimActor(DkimConfig(), FakeResolver(zone()), FakeClock()).examine(Stage.MESSAGE, message, budget())
    return next((one.outcome for one in found if one.name == "arc"), Outcome.NONE)


async def test_what_is_forwarded_gets_a_set_that_we_and_dkimpy_validate(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed, found = await leaves(config(), mail())
    assert [one.facts["field"] for one in found] == ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"]
    assert b"ARC-Authentication-Results: i=1; mx.example.net; spf=pass" in sealed.header_block
    assert await chain_of(sealed) is Outcome.PASS
    twice, _ = await leaves(config(), Message(mail().envelope, sealed.header_block.replace(RESULTS, b""), BODY))
    assert b"i=2" in twice.header_block
    assert b"cv=pass" in twice.header_block
    assert await chain_of(twice) is Outcome.PASS
    monkeypatch.setattr(dkim, "RSASSA_PKCS1_v1_5_verify", dkim.crypto.RSASSA_PKCS1_v1_5_verify)
    verdict, _, _ = dkim.arc_verify(twice.raw, dnsfunc=lambda _name, **_: rsa_record().encode())
    assert verdict == dkim.CV_Pass


async def test_a_set_signs_the_signatures_that_stand_in_the_message() -> None:
    sealed, _ = await leaves(config(), mail(signed_message().header_block))
    assert b"dkim-signature" in sealed.header_block
    changed = sealed.header_block.replace(b"DKIM-Signature:", b"DKIM-Signature: x=1;")
    assert await chain_of(Message(mail().envelope, changed, BODY)) is Outcome.FAIL


async def test_what_is_signed_and_sealed_is_sealed_over_the_new_signature() -> None:
    forwards = SigningRules(
        internal_hosts=HostList([]),
        seal_mail_to=RULES.seal_mail_to,
        resign_mail_to=NamedTable([Entry("list@example.net", "rsa")]),
        resign_all=True,
    )
    headers = HEADERS.replace(b"@example.org", b"@example.com")
    settings, message = config(), mail(headers)
    source = Source(rules=forwards)
    known = await actor(settings, source).examine(Stage.MESSAGE, message, budget())
    asked = tuple(one for one in known if one.name in ("signing", "sealing"))
    assert {one.name for one in asked} == {"signing", "sealing"}
    leaving = Message(message.envelope, RESULTS + headers, b"", asked)
    found = await actor(settings, source).examine(Stage.SIGN, leaving, budget())
    assert [one.name for one in found] == ["seal", "seal", "seal", "signature"]
    fields = b"".join(f"{one.facts['field']}: {one.facts['value']}\r\n".encode() for one in found)
    sealed = Message(message.envelope, fields + RESULTS + headers, BODY)
    assert await chain_of(sealed) is Outcome.PASS
    without = Message(message.envelope, sealed.header_block.replace(b"DKIM-Signature:", b"X-Was:"), BODY)
    assert await chain_of(without) is Outcome.FAIL


@pytest.mark.parametrize(
    ("seal", "to", "direction", "wanted"),
    [
        ("listed", b"list@example.net", Direction.INBOUND, True),
        ("listed", b"bob@example.net", Direction.INBOUND, False),
        ("always", b"bob@example.net", Direction.INBOUND, True),
        ("always", b"bob@example.net", Direction.OUTBOUND, False),
        ("never", b"list@example.net", Direction.INBOUND, False),
    ],
)
async def test_who_gets_a_seal(seal: str, to: bytes, direction: Direction, *, wanted: bool) -> None:
    assert bool(await told(config(seal), mail(to=to, direction=direction))) == wanted


async def test_a_chain_that_dns_leaves_open_is_not_extended() -> None:
    sealed, _ = await leaves(config(), mail())
    (found,) = await told(config(), sealed, FakeResolver(failing="*"))
    assert (found.name, found.outcome) == ("sealing", Outcome.SKIPPED)


async def test_a_broken_chain_is_declared_so_once_and_then_left_alone() -> None:
    sealed, _ = await leaves(config(), mail())
    broken = Message(
        mail().envelope, sealed.header_block.replace(b"Subject: A", b"Subject: B").replace(RESULTS, b""), BODY
    )
    declared, _ = await leaves(config(), broken)
    assert b"cv=fail" in declared.header_block
    _, found = await leaves(config(), Message(mail().envelope, declared.header_block.replace(RESULTS, b""), BODY))
    assert [(one.name, one.outcome) for one in found] == [("sealing", Outcome.SKIPPED)]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Source(keys=Keys({}), rules=RULES), "No such file"),
        (Source(keys=Keys({"/rsa": generate_ed25519()}), rules=RULES), "RSA key"),
    ],
)
async def test_a_seal_that_cannot_be_made_is_an_error_about_sealing(source: Source, reason: str) -> None:
    _, (failed,) = await leaves(config(), mail(), source)
    assert (failed.name, failed.outcome) == ("sealing", Outcome.ERROR)
    assert reason in failed.detail


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (b"Subject: x\r\n", "there is no From field"),
        (HEADERS + b"References: <a@example.org>\r\n" * 200, "more than 200 fields would have to be signed"),
    ],
)
async def test_what_can_never_be_sealed_is_left_alone_and_no_failure(headers: bytes, why: str) -> None:
    _, (told,) = await leaves(config(), mail(headers))
    assert (told.name, told.outcome, told.detail) == ("sealing", Outcome.SKIPPED, f"no seal: {why}")


@pytest.mark.parametrize("wrong", [{"seal": "sometimes"}, {"seal": "always", "seal_key": "a.example:s:MIIE"}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="seal"):
        SigningConfig(**wrong)  # type: ignore[arg-type]
