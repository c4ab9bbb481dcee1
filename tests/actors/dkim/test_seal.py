import dkim
import pytest

from actors.adapters.zone import ZoneResolver
from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.canonical import BodyHashes
from actors.dkim.seal import Sealer, seal
from actors.dkim.signing.private_key import PrivateKey
from actors.dkim.verify import Evidence
from actors.model import Finding, Message, Outcome, Stage
from tests.fakes import NOW_S, FakeClock, budget
from tests.signing import BODY, HEADERS, message, rsa_key, rsa_record, zone

RESULTS = b"mx.example.org; spf=pass smtp.mfrom=example.org;\r\n\tdkim=pass header.d=example.org"
SIGNED = (b"from", b"to", b"subject", b"date", b"message-id", b"from")
SEALER = Sealer("example.org", "rsa", PrivateKey("rsa", 2048, rsa_key(2048)), SIGNED)


def evidence(mail: Message) -> Evidence:
    return Evidence(mail.fields_by_name, BodyHashes(mail.body), NOW_S, DkimConfig())


async def validation(mail: Message) -> Finding:
    actor = DkimActor(DkimConfig(), ZoneResolver.from_text(zone()), FakeClock())
    findings = await actor.examine(Stage.MESSAGE, mail, budget())
    return next((one for one in findings if one.name == "arc"), Finding("dkim", "arc", Outcome.NONE))


async def sealed(mail: Message, times: int = 1) -> Message:
    """The message with so many sets more; it stays as it is when no set may be added."""
    for _ in range(times):
        outcome = (await validation(mail)).outcome
        fields = seal(evidence(mail), outcome, RESULTS, SEALER)
        block = b"".join(b"%b:%b\r\n" % field for field in fields or ())
        mail = message(block + mail.header_block, mail.body)
    return mail


def with_field(mail: Message, old: bytes, new: bytes) -> Message:
    assert old in mail.header_block
    return message(mail.header_block.replace(old, new, 1), mail.body)


@pytest.mark.parametrize("sets", [1, 2, 5])
async def test_what_is_sealed_is_a_chain_to_us_and_to_dkimpy(sets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = await sealed(message(HEADERS), sets)
    found = await validation(mail)
    assert (found.outcome, found.facts["sets"]) == (Outcome.PASS, str(sets))
    monkeypatch.setattr(dkim, "RSASSA_PKCS1_v1_5_verify", dkim.crypto.RSASSA_PKCS1_v1_5_verify)
    verdict, _, _ = dkim.arc_verify(mail.raw, dnsfunc=lambda _name, **_: rsa_record().encode())
    assert verdict == dkim.CV_Pass


async def test_a_set_stands_on_top_and_says_who_when_and_what() -> None:
    (first, seal_text), (second, signature), (third, results), *_ = (await sealed(message(HEADERS))).headers
    assert (first, second, third) == (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
    assert b"cv=none" in seal_text
    assert b"h=from:to:subject:date:message-id:from" in signature
    assert results == b" i=1; " + RESULTS
    for text in (seal_text, signature):
        assert all(tag in text for tag in (b"i=1", b"d=example.org", b"s=rsa", b"t=%d" % NOW_S))
        assert max(map(len, text.split(b"\r\n"))) < 990


async def test_a_second_from_breaks_what_signs_it_twice() -> None:
    mail = await sealed(message(HEADERS))
    assert (await validation(message(mail.header_block + b"From: eve@example.net\r\n"))).outcome is Outcome.FAIL


async def test_a_broken_chain_is_sealed_once_as_failed_and_then_no_more() -> None:
    mail = await sealed(message(HEADERS), 2)
    failed = await sealed(message(mail.header_block, BODY + b"an advertisement\r\n"))
    assert failed.header_values(b"arc-seal")[0].count(b"cv=fail") == 1
    assert b"i=3" in failed.header_values(b"arc-seal")[0]
    assert (await validation(failed)).outcome is Outcome.FAIL
    assert await sealed(failed) == failed


async def test_the_seal_of_a_broken_chain_covers_its_own_set_only() -> None:
    mail = await sealed(message(HEADERS), 1)
    broken = message(mail.header_block, BODY + b"more\r\n")
    one, other = [
        seal(evidence(chain), Outcome.FAIL, RESULTS, SEALER)
        for chain in (broken, with_field(broken, b"spf=pass", b"spf=fail"))
    ]
    assert one == other


@pytest.mark.parametrize("unreadable", [b"a=rsa-sha256; cv=pass", b"i=x; cv=none", b"", b"\xff;;;=" * 400])
async def test_a_chain_that_cannot_be_read_is_sealed_as_failed(unreadable: bytes) -> None:
    mail = await sealed(message(b"ARC-Seal: " + unreadable + b"\r\n" + HEADERS))
    assert b"cv=fail" in mail.header_values(b"arc-seal")[0]


async def test_the_fiftieth_set_is_the_last() -> None:
    mail = await sealed(message(HEADERS), 50)
    assert (await validation(mail)).outcome is Outcome.PASS
    assert await sealed(mail) == mail


async def test_nothing_is_sealed_while_dns_leaves_the_chain_open() -> None:
    mail = await sealed(message(HEADERS))
    for outcome in (Outcome.TEMPERROR, Outcome.PERMERROR, Outcome.ERROR):
        assert seal(evidence(mail), outcome, RESULTS, SEALER) is None


@pytest.mark.parametrize("outcome", [Outcome.NONE, Outcome.PASS])
@pytest.mark.parametrize("lost", [b"arc-seal", b"arc-message-signature", b"arc-authentication-results", b"arc-"])
async def test_a_chain_that_held_but_lost_fields_on_the_way_out_is_not_sealed(lost: bytes, outcome: Outcome) -> None:
    mail = await sealed(message(HEADERS), 2)
    kept = [(name, value) for name, value in mail.headers if not (name.lower().startswith(lost) and b"i=1;" in value)]
    assert len(kept) < len(mail.headers)
    left = message(b"".join(b"%b:%b\r\n" % one for one in kept))
    assert seal(evidence(left), outcome, RESULTS, SEALER) is None


@pytest.mark.parametrize("names", [(b"to",), (b"from", b"arc-seal"), (b"from", b"authentication-results")])
def test_a_sealer_signs_from_and_nothing_that_it_must_not(names: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="signs From"):
        Sealer("example.org", "rsa", PrivateKey("rsa", 2048, rsa_key(2048)), names)


def test_the_private_key_is_in_no_text() -> None:
    assert "private" not in repr(SEALER)
