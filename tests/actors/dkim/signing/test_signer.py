"""actors/dkim/signing/signer.py and the dkim actor: ours is signed and not verified, a stranger's verified."""

from collections.abc import Mapping

import msgspec
import pytest

from actors.actor import Budget
from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.hosts import HostList
from actors.dkim.signing.tables import Entry, NamedTable
from actors.model import Envelope, Finding, Message, Outcome, Recipient, Stage
from tests.actors.dkim.signing.world import (
    CONFIG,
    MANY_FIELDS,
    OURS,
    STRANGER,
    BrokenTable,
    Keys,
    Source,
    actor,
    keys,
    mail,
    signed,
    with_fields,
)
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, rsa_pem, signed_message, zone


@pytest.mark.parametrize("form", ["relaxed/relaxed", "simple/simple", "simple/relaxed"])
async def test_ours_is_signed_with_every_key_and_the_signatures_hold(form: str) -> None:
    config = msgspec.structs.replace(CONFIG, canonicalization=form)
    found = await signed(Source(), mail(), config)
    assert [(one.name, one.facts["header.a"]) for one in found] == [
        ("signature", "rsa-sha256"),
        ("signature", "ed25519-sha256"),
    ]
    arrived = with_fields(found, Message(mail().envelope, b"X-Added: 1\r\n" + HEADERS))
    verified = await DkimActor(DkimConfig(), FakeResolver(zone()), FakeClock()).examine(
        Stage.MESSAGE, arrived, budget()
    )
    assert [one.outcome for one in verified] == [Outcome.PASS, Outcome.PASS]


async def test_ours_is_told_with_the_rule_and_the_keys_and_is_not_verified() -> None:
    resolver = FakeResolver(zone())
    message = signed_message()
    ours = Message(msgspec.structs.replace(message.envelope, client=OURS), message.header_block, message.body)
    (found,) = await actor(Source(), resolver=resolver).examine(Stage.MESSAGE, ours, budget())
    assert (found.name, found.outcome) == ("signing", Outcome.PASS)
    assert found.facts["rule"] == "InternalHosts"
    assert found.facts["keys"] == "example.org/rsa example.org/ed"
    assert "192.0.2.0/24" in found.detail
    assert resolver.questions == []


async def test_the_keys_are_in_memory_when_the_message_leaves() -> None:
    source = Source()
    await actor(source).examine(Stage.MESSAGE, mail(), budget())
    assert source.keys.asked == ["/rsa", "/ed"]


async def test_a_strangers_mail_is_verified_and_its_use_of_our_domain_is_told() -> None:
    message = signed_message()
    stranger = Message(msgspec.structs.replace(message.envelope, client=STRANGER), message.header_block, message.body)
    verified, suspicious = await actor(Source()).examine(Stage.MESSAGE, stranger, budget())
    assert (verified.name, verified.outcome) == ("dkim", Outcome.PASS)
    assert (suspicious.name, suspicious.outcome) == ("suspicious", Outcome.HIT)


async def test_mail_of_a_peer_is_left_alone() -> None:
    source = Source(rules=SigningRules(peers=HostList(["203.0.113.9"])))
    (found,) = await actor(source).examine(Stage.MESSAGE, mail(STRANGER), budget())
    assert (found.name, found.outcome, found.facts["rule"]) == ("signing", Outcome.SKIPPED, "PeerList")


async def test_without_signing_the_actor_is_asked_no_more_than_before() -> None:
    plain = DkimActor(DkimConfig(), FakeResolver(zone()), FakeClock())
    assert plain.stages == {Stage.HEADERS, Stage.MESSAGE}
    (found,) = await plain.examine(Stage.MESSAGE, mail(), budget())
    assert found.name == "unsigned"


async def test_at_the_headers_nothing_is_told() -> None:
    assert await actor(Source()).examine(Stage.HEADERS, mail(), budget()) == ()


async def test_told_again_mail_is_signed_the_same() -> None:
    assert await signed(Source(), mail()) == await signed(Source(), mail())
    later = await signed(Source(), mail(received_at_s=NOW_S - 60))
    assert f"t={int(NOW_S - 60)};" in later[0].facts["value"]


async def test_a_clock_that_is_ahead_does_not_get_into_a_signature() -> None:
    found = await signed(Source(), mail(received_at_s=NOW_S + 7200))
    assert f"t={int(NOW_S)};" in found[0].facts["value"]


async def test_a_new_body_is_hashed_where_it_is_signed() -> None:
    found = await actor(Source()).examine(Stage.MESSAGE, mail(), budget())
    known = tuple(msgspec.structs.replace(one, facts={"disposition": "sign"}) for one in found)
    replaced = Message(mail().envelope, HEADERS, b"another\r\n", known)
    made = await actor(Source()).examine(Stage.SIGN, replaced, budget())
    arrived = Message(mail().envelope, with_fields(made, mail()).header_block, b"another\r\n")
    (first, _) = await DkimActor(DkimConfig(), FakeResolver(zone()), FakeClock()).examine(
        Stage.MESSAGE, arrived, budget()
    )
    assert first.outcome is Outcome.PASS


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_a_key_that_cannot_be_read_is_an_error_beside_the_other_signature() -> None:
    source = Source(keys=Keys({"/rsa": keys().keys["/rsa"]}))
    made, failed = await signed(source, mail())
    assert made.name == "signature"
    assert (failed.name, failed.outcome, failed.facts["disposition"]) == ("signing", Outcome.ERROR, "sign")
    assert failed.detail == "unreachable: key of d=example.org s=ed: /ed: No such file or directory"


async def test_a_table_that_is_away_is_an_error_of_ours_and_nothing_to_strangers() -> None:
    source = Source(signing=BrokenTable([]))
    (failed,) = await actor(source).examine(Stage.MESSAGE, mail(), budget())
    assert (failed.name, failed.outcome, failed.facts["disposition"]) == ("signing", Outcome.ERROR, "sign")
    stranger = await actor(source).examine(Stage.MESSAGE, mail(STRANGER), budget())
    assert [one.name for one in stranger] == ["unsigned"]


async def test_a_filter_that_only_signs_leaves_strangers_alone_while_the_signing_table_is_away() -> None:
    source = Source(signing=BrokenTable([]), rules=SigningRules(verifies=False))
    (told,) = await actor(source).examine(Stage.MESSAGE, mail(STRANGER), budget())
    assert (told.name, told.outcome) == ("signing", Outcome.SKIPPED)
    assert not told.facts.keys() & {"ours", "unverified"}


async def test_of_mail_that_is_left_alone_is_told_whether_it_is_ours_and_has_signatures_nobody_looked_at() -> None:
    source = Source(rules=SigningRules(exempt_domains=NamedTable([Entry("example.org", "")])))
    headers = b"DKIM-Signature: v=1\r\n" * 2 + HEADERS
    for client, ours in ((STRANGER, None), (msgspec.structs.replace(STRANGER, auth_type="PLAIN"), "yes")):
        message = Message(mail(client).envelope, headers, BODY)
        (told,) = await actor(source).examine(Stage.MESSAGE, message, budget())
        assert (told.facts["rule"], told.facts["unverified"], told.facts.get("ours")) == ("ExemptDomains", "2", ours)


async def test_lists_that_were_never_readable_are_an_error_of_which_nobody_knows_whose() -> None:
    verified, failed = await actor(Source(broken=True)).examine(Stage.MESSAGE, mail(), budget())
    assert (verified.name, failed.name, failed.outcome, failed.facts) == ("unsigned", "signing", Outcome.ERROR, {})


async def test_what_is_not_ours_any_more_is_an_error() -> None:
    known = (Finding("dkim", "signing", Outcome.PASS),)
    stranger = Message(mail(STRANGER).envelope, HEADERS, BODY, known)
    (failed,) = await actor(Source()).examine(Stage.SIGN, stranger, budget())
    assert (failed.name, failed.outcome) == ("signing", Outcome.ERROR)


@pytest.mark.parametrize("facts", [{"sha256.relaxed": "\x00"}, {"sha256.simple": "aGFzaA=="}])
async def test_nothing_is_signed_over_a_body_whose_hash_is_not_known(facts: Mapping[str, str]) -> None:
    known = (Finding("dkim", "signing", Outcome.PASS, facts=facts),)
    (failed,) = await actor(Source()).examine(Stage.SIGN, Message(mail().envelope, HEADERS, b"", known), budget())
    assert (failed.name, failed.outcome) == ("signing", Outcome.ERROR)
    assert failed.detail == "unreachable: the relaxed hash of the body was not made when it came"


async def test_no_key_is_in_what_is_told() -> None:
    text = str([await signed(Source(), mail()), actor(Source())])
    pem = rsa_pem().decode().split("\n")[3]
    assert pem not in text


async def test_a_wait_for_a_key_is_in_the_trace_by_name_alone() -> None:
    known: Budget = budget()
    await actor(Source()).examine(Stage.MESSAGE, mail(), known)
    assert [(one.name, one.detail) for one in known.lookups] == [
        ("dkim.key", "d=example.org s=rsa"),
        ("dkim.key", "d=example.org s=ed"),
    ]


async def test_mail_to_whom_nothing_is_signed_does_not_fail_with_the_tables() -> None:
    rules = SigningRules(
        internal_hosts=HostList(["192.0.2.0/24"]), dont_sign_mail_to=NamedTable([Entry("plain@example.net", "")])
    )
    source = Source(signing=BrokenTable([]), rules=rules)
    envelope = Envelope(client=OURS, recipients=(Recipient(b"plain@example.net"),))
    found = await actor(source).examine(Stage.MESSAGE, Message(envelope, HEADERS, BODY), budget())
    assert [one.name for one in found] == ["unsigned"]


@pytest.mark.parametrize(("macros", "name"), [({"level": "2"}, "signing"), ({"level": "3"}, "unsigned")])
async def test_a_macro_of_the_mta_makes_mail_ours(macros: Mapping[str, str], name: str) -> None:
    source = Source(rules=SigningRules(internal_hosts=HostList([]), macros={"level": frozenset({"1", "2"})}))
    envelope = Envelope(client=STRANGER, macros=macros)
    found = await actor(source).examine(Stage.MESSAGE, Message(envelope, HEADERS, BODY), budget())
    assert found[0].name == name


async def test_macros_that_stand_in_the_envelope_count_too() -> None:
    source = Source(rules=SigningRules(internal_hosts=HostList([]), macros={"daemon_name": frozenset({"submission"})}))
    envelope = Envelope(client=STRANGER, daemon_name="submission")
    (found,) = await actor(source).examine(Stage.MESSAGE, Message(envelope, HEADERS, BODY), budget())
    assert (found.name, found.facts["rule"]) == ("signing", "MacroList")


# --- what can never be signed


async def test_what_has_more_fields_than_a_signature_may_name_is_told_when_it_comes() -> None:
    (told,) = await actor(Source()).examine(Stage.MESSAGE, mail(headers=MANY_FIELDS), budget())
    assert (told.name, told.outcome, told.facts["disposition"]) == ("signing", Outcome.PERMERROR, "sign")
    assert told.detail == "cannot be signed: more than 200 fields would have to be signed"


async def test_what_gets_too_many_fields_by_the_verdict_is_told_when_it_leaves() -> None:
    known = (Finding("dkim", "signing", Outcome.PASS),)
    leaving = Message(mail().envelope, MANY_FIELDS, BODY, known)
    (told,) = await actor(Source()).examine(Stage.SIGN, leaving, budget())
    assert (told.name, told.outcome, told.facts["disposition"]) == ("signing", Outcome.PERMERROR, "sign")


@pytest.mark.parametrize(
    ("author", "why"),
    [
        (b"From: joe@example.org\r\nFrom: alice@example.org", "there are 2 from fields"),
        (b"From: <>", "the from field has no address that can be read"),
        (b"X-From: alice@example.org", "there is no from field"),
    ],
)
async def test_it_is_told_of_ours_why_its_author_has_no_key(author: bytes, why: str) -> None:
    message = mail(headers=HEADERS.replace(b"From: Alice <alice@example.org>", author))
    verified, told = await actor(Source()).examine(Stage.MESSAGE, message, budget())
    assert (verified.name, told.name, told.outcome) == ("unsigned", "signing", Outcome.SKIPPED)
    assert (told.detail, told.facts) == (f"not signed: {why}", {"disposition": "verify", "rule": "SenderHeaders"})
    stranger = Message(msgspec.structs.replace(message.envelope, client=STRANGER), message.header_block, BODY)
    assert [one.name for one in await actor(Source()).examine(Stage.MESSAGE, stranger, budget())] == ["unsigned"]


@pytest.mark.parametrize(
    "config",
    [msgspec.structs.replace(CONFIG, mode="v"), SigningConfig(seal="always", seal_key="a.example:s:/k")],
    ids=["only verifies", "only seals"],
)
async def test_a_filter_that_does_not_sign_tells_nothing_of_an_author_without_key(config: SigningConfig) -> None:
    found = await actor(Source(), config).examine(Stage.MESSAGE, mail(headers=b"From: <>\r\n"), budget())
    assert [one.name for one in found] == ["unsigned"]
