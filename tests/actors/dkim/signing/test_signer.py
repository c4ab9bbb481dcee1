"""actors/dkim/signing/signer.py and the dkim actor: ours is signed and not verified, a stranger's verified."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from actors.actor import Budget
from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.hosts import HostList
from actors.dkim.signing.private_key import PrivateKey, PrivateKeyError, load_private_key
from actors.dkim.signing.signer import MailSigner
from actors.dkim.signing.source import Signing
from actors.dkim.signing.tables import Entry, NamedTable, SigningTables, TableError
from actors.model import Client, Envelope, Finding, Message, Outcome, Recipient, Stage
from tests.fakes import NOW_S, FakeClock, FakeResolver, budget
from tests.signing import BODY, HEADERS, ed25519_key, rsa_pem, rsa_record, signed_message, zone

CONFIG = SigningConfig(
    key_table="csl:rsa=example.org:rsa:/rsa,ed=example.org:ed:/ed",
    signing_table="csl:example.org=rsa",
    multiple_signatures=True,
)
OURS, STRANGER = Client(ip="192.0.2.1"), Client(ip="203.0.113.9")


@dataclass
class Keys:
    """A KeySource; a missing one cannot be read."""

    keys: Mapping[str, PrivateKey]
    asked: list[str] = field(default_factory=list)

    async def key(self, text: str) -> PrivateKey:
        self.asked.append(text)
        await asyncio.sleep(0)
        if text not in self.keys:
            raise PrivateKeyError(f"{text}: No such file or directory")
        return self.keys[text]


def keys() -> Keys:
    return Keys({"/rsa": load_private_key(rsa_pem()), "/ed": load_private_key(bytes(ed25519_key()))})


class Table(NamedTable):
    """Two entries of one author: a table of patterns without patterns."""

    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        return await self.entries() if "example.org" in names else []


class BrokenTable(NamedTable):
    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        raise TableError(f"the store is away ({len(names)} names)")


@dataclass
class Source:
    """A SigningSource; `broken` was never readable."""

    keys: Keys = field(default_factory=keys)
    signing: NamedTable = field(
        default_factory=lambda: Table([Entry("example.org", "rsa"), Entry("example.org", "ed")])
    )
    rules: SigningRules = field(default_factory=lambda: SigningRules(internal_hosts=HostList(["192.0.2.0/24"])))
    broken: bool = False
    key_names: tuple[str, ...] = ()
    """Further names in the KeyTable, of keys for any author's domain."""

    async def current(self) -> Signing:
        if self.broken:
            raise TableError("/etc/keys: Permission denied")
        any_domain = [Entry(name, "%:rsa:/rsa") for name in self.key_names]
        table = NamedTable([Entry("rsa", "example.org:rsa:/rsa"), Entry("ed", "example.org:ed:/ed"), *any_domain])
        return Signing(self.rules, SigningTables(self.signing, table, multiple=True), self.keys)

    async def close(self) -> None:
        self.broken = True


def actor(source: Source, config: SigningConfig = CONFIG, resolver: FakeResolver | None = None) -> DkimActor:
    clock = FakeClock()
    return DkimActor(
        DkimConfig(signing=config), resolver or FakeResolver(zone()), clock, signer=MailSigner(config, source, clock)
    )


def mail(client: Client = OURS, headers: bytes = HEADERS, received_at_s: float = NOW_S) -> Message:
    return Message(Envelope(client=client, received_at_s=received_at_s), headers, BODY)


async def signed(source: Source, message: Message, config: SigningConfig = CONFIG) -> Sequence[Finding]:
    """Both stages, the second one by another replica, with what the first one found instead of the body."""
    found = await actor(source, config).examine(Stage.MESSAGE, message, budget())
    leaving = Message(message.envelope, b"X-Added: 1\r\n" + message.header_block, b"", tuple(found))
    return await actor(source, config).examine(Stage.SIGN, leaving, budget())


def with_fields(found: Sequence[Finding], message: Message) -> Message:
    fields = [f"{one.facts['field']}: {one.facts['value']}\r\n".encode() for one in found if one.name == "signature"]
    return Message(
        msgspec.structs.replace(message.envelope, client=STRANGER), b"".join(fields) + message.header_block, BODY
    )


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


async def test_what_is_forwarded_is_signed_while_the_signing_table_is_away() -> None:
    source = forwarding()
    source.signing = BrokenTable([])
    message = forwarded(b"list@fwd.example", signed_message())
    verified, told = await actor(source).examine(Stage.MESSAGE, message, budget())
    assert (verified.outcome, told.outcome, told.facts["rule"]) == (Outcome.PASS, Outcome.PASS, "ResignMailTo")
    made = await signed(source, message)
    assert [(one.name, one.facts["header.s"]) for one in made] == [("signature", "rsa")]


async def test_a_filter_that_only_signs_leaves_strangers_alone_while_the_signing_table_is_away() -> None:
    source = Source(signing=BrokenTable([]), rules=SigningRules(verifies=False))
    (told,) = await actor(source).examine(Stage.MESSAGE, mail(STRANGER), budget())
    assert (told.name, told.outcome) == ("signing", Outcome.SKIPPED)


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

MANY_FIELDS = HEADERS + b"References: <a@example.org>\r\n" * 200


async def test_what_has_more_fields_than_a_signature_may_name_is_told_when_it_comes() -> None:
    (told,) = await actor(Source()).examine(Stage.MESSAGE, mail(headers=MANY_FIELDS), budget())
    assert (told.name, told.outcome, told.facts["disposition"]) == ("signing", Outcome.PERMERROR, "sign")
    assert told.detail == "cannot be signed: more than 200 fields would have to be signed"


async def test_what_gets_too_many_fields_by_the_verdict_is_told_when_it_leaves() -> None:
    known = (Finding("dkim", "signing", Outcome.PASS),)
    leaving = Message(mail().envelope, MANY_FIELDS, BODY, known)
    (told,) = await actor(Source()).examine(Stage.SIGN, leaving, budget())
    assert (told.name, told.outcome, told.facts["disposition"]) == ("signing", Outcome.PERMERROR, "sign")


async def test_what_is_forwarded_with_too_many_fields_goes_on_as_it_came() -> None:
    message = forwarded(b"list@fwd.example", signed_message(MANY_FIELDS))
    verified, _, told = await actor(forwarding()).examine(Stage.MESSAGE, message, budget())
    assert (verified.outcome, told.name, told.outcome) == (Outcome.PASS, "signing", Outcome.SKIPPED)
    assert told.detail == "not signed: more than 200 fields would have to be signed"


async def test_what_is_forwarded_without_the_author_that_its_key_is_for_goes_on_as_it_came() -> None:
    headers = HEADERS.replace(b"Alice <alice@example.org>", b"<@evil.test>")
    forwards = NamedTable([Entry("list@fwd.example", "%")])
    source = Source(rules=SigningRules(resign_mail_to=forwards, resign_all=True), key_names=("%",))
    message = forwarded(b"list@fwd.example", mail(headers=headers))
    _, told = await actor(source).examine(Stage.MESSAGE, message, budget())
    assert (told.outcome, told.facts["rule"]) == (Outcome.SKIPPED, "ResignMailTo")
    assert told.detail == "not signed: the from field has no address that can be read"


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


# --- for others: mail that goes on


FORWARDS = NamedTable([Entry("list@fwd.example", "rsa"), Entry(".lists.example", "ed"), Entry("gone.example", "lost")])


def forwarding(*, everything: bool = False) -> Source:
    return Source(rules=SigningRules(resign_mail_to=FORWARDS, resign_all=everything))


def forwarded(to: bytes, message: Message) -> Message:
    envelope = msgspec.structs.replace(message.envelope, client=STRANGER, recipients=(Recipient(to),))
    return Message(envelope, message.header_block, message.body)


@pytest.mark.parametrize(
    ("to", "selector"), [(b"LIST@fwd.example", "rsa"), (b"x@a.lists.example", "ed"), (b"x@fwd.example", "")]
)
async def test_what_is_forwarded_is_verified_and_signed_with_the_key_of_its_recipient(to: bytes, selector: str) -> None:
    message = forwarded(to, signed_message())
    found = await actor(forwarding()).examine(Stage.MESSAGE, message, budget())
    signing = [one for one in found if one.name == "signing"]
    assert (found[0].name, found[0].outcome) == ("dkim", Outcome.PASS)
    assert [one.facts["keys"] for one in signing] == ([f"example.org/{selector}"] if selector else [])
    if selector:
        made = await signed(forwarding(), message)
        assert [(one.name, one.facts["header.s"]) for one in made] == [("signature", selector)]
        arrived = with_fields(made, Message(message.envelope, b"X-Added: 1\r\n" + message.header_block))
        plain = DkimActor(DkimConfig(), FakeResolver(zone()), FakeClock())
        outcomes = [one.outcome for one in await plain.examine(Stage.MESSAGE, arrived, budget())]
        assert outcomes == [Outcome.PASS, Outcome.PASS]


@pytest.mark.parametrize("everything", [False, True])
async def test_what_has_no_signature_that_passes_is_signed_only_with_resign_all(*, everything: bool) -> None:
    message = forwarded(b"list@fwd.example", mail(headers=HEADERS.replace(b"@example.org", b"@example.com")))
    found = await actor(forwarding(everything=everything)).examine(Stage.MESSAGE, message, budget())
    assert ("signing" in [one.name for one in found]) == everything


async def test_a_key_that_the_key_table_lacks_is_an_error() -> None:
    message = forwarded(b"x@gone.example", signed_message())
    found = await actor(forwarding()).examine(Stage.MESSAGE, message, budget())
    assert found[-1].detail == "unreachable: the key lost is wanted, which the KeyTable lacks"


STRANGERS_ZONE = (
    f'{zone()}\nrsa._domainkey.evil.test TXT "{rsa_record()}"\nrsa._domainkey.a.example.org TXT "{rsa_record()}"'
)


async def resigning(author: bytes, signed_by: str | None, *, everything: bool) -> list[Finding]:
    """What is found about signing a stranger's mail to one to whom mail is signed as d=example.org."""
    headers = HEADERS.replace(b"Alice <alice@example.org>", author)
    names = "From:From:To:Subject:Date:Message-ID"
    message = signed_message(headers, d=signed_by, h=names) if signed_by else mail(headers=headers)
    found = await actor(forwarding(everything=everything), resolver=FakeResolver(STRANGERS_ZONE)).examine(
        Stage.MESSAGE, forwarded(b"list@fwd.example", message), budget()
    )
    assert [one.outcome for one in found if one.name == "dkim"] == ([Outcome.PASS] if signed_by else [])
    return [one for one in found if one.name == "signing"]


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize(
    ("author", "signed_by"),
    [
        (b"ceo@example.org", "evil.test"),
        (b"CEO <ceo@EXAMPLE.ORG.>", "evil.test"),
        (b"ceo@mail.example.org", "evil.test"),
        (b"ceo@mail.example.org", "a.example.org"),
        (b"root@org", "evil.test"),
        (b"eve@evil.test, ceo@example.org", "evil.test"),
        (b"eve@evil.test, " * 20 + b"ceo@example.org", "evil.test"),
        (b"ceo@example.org <eve@evil.test>", "evil.test"),
        (b"eve@evil.test\r\nFrom: ceo@example.org", "evil.test"),
        (b'"ceo@example.org', "evil.test"),
    ],
)
async def test_nobody_gets_our_signature_for_an_author_of_ours_who_did_not_sign(
    author: bytes, signed_by: str, *, everything: bool
) -> None:
    (told,) = await resigning(author, signed_by, everything=everything)
    assert (told.outcome, told.facts["rule"]) == (Outcome.SKIPPED, "ResignMailTo")
    assert told.detail.startswith("not signed: ")


async def test_it_is_told_for_whom_nobody_vouched_even_with_resign_all() -> None:
    (told,) = await resigning(b"ceo@example.org", None, everything=True)
    assert told.detail == "not signed: no signature that passes vouches for example.org"


@pytest.mark.parametrize(
    ("author", "signed_by"),
    [
        (b"a@example.org", "example.org"),
        (b"a@mail.example.org", "example.org"),
        (b"a@example.org", "a.example.org"),
        (b"eve@evil.test", "evil.test"),
        (b"eve@notexample.org", "evil.test"),
        (b'"ceo@example.org" <eve@evil.test>', "evil.test"),
    ],
)
async def test_our_signature_goes_on_what_its_author_signed_and_on_what_others_wrote(
    author: bytes, signed_by: str
) -> None:
    (told,) = await resigning(author, signed_by, everything=False)
    assert (told.outcome, told.facts["keys"]) == (Outcome.PASS, "example.org/rsa")
