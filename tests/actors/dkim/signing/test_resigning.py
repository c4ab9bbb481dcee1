"""Mail that goes on: who gets our signature for others, with which key, and whose mail goes on as it came."""

from collections.abc import Iterable, Sequence

import msgspec
import pytest

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.signing.decision import SigningRules, listed_recipient
from actors.dkim.signing.tables import SUPERDOMAIN_LABELS_MAX, Entry, NamedTable, PatternTable
from actors.model import Envelope, Finding, Message, Outcome, Recipient, Stage
from tests.actors.dkim.signing.world import MANY_FIELDS, STRANGER, BrokenTable, Source, actor, mail, signed, with_fields
from tests.fakes import FakeClock, FakeResolver, budget
from tests.signing import HEADERS, rsa_record, signed_message, zone

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


class Asked(NamedTable):
    """Counts the names that are looked up."""

    count = 0

    def find_now(self, names: Iterable[str]) -> Sequence[Entry]:
        self.count += 1
        return super().find_now(list(names))

    def first_of(self, names: Iterable[str]) -> Entry | None:
        counted = list(names)
        self.count += len(counted)
        return super().first_of(counted)


@pytest.mark.parametrize(
    ("entries", "asked"), [([], 0), ([Entry(".else.example", "rsa")], 1000 + 1 + SUPERDOMAIN_LABELS_MAX)]
)
def test_many_recipients_of_a_domain_of_many_labels_cost_a_look_up_each(entries: list[Entry], asked: int) -> None:
    domain, members = ".".join("a" * 127), Asked(entries)
    recipients = tuple(Recipient(f"u{number}@{domain}".encode()) for number in range(1000))
    assert listed_recipient(Message(Envelope(recipients=recipients)), members) is None
    assert members.count == asked


def test_a_recipient_is_found_by_the_address_before_the_domain_and_the_first_one_that_is_listed_counts() -> None:
    members = PatternTable([Entry("*.b.example", "1"), Entry("x@a.b.example", "2"), Entry("c.example", "3")])

    def value(*addresses: bytes) -> str:
        entry = listed_recipient(Message(Envelope(recipients=tuple(map(Recipient, addresses)))), members)
        return entry.value if entry else ""

    assert value(b"y@d.example", b"x@A.b.example", b"x@c.example") == "1", "the table's own order"
    assert value(b"y@c.example", b"x@a.b.example") == "3"
    assert value(b"x@d.example", b"x", b"") == ""


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


# --- what fails, and what can never be signed


async def test_what_is_forwarded_is_signed_while_the_signing_table_is_away() -> None:
    source = forwarding()
    source.signing = BrokenTable([])
    message = forwarded(b"list@fwd.example", signed_message())
    verified, told = await actor(source).examine(Stage.MESSAGE, message, budget())
    assert (verified.outcome, told.outcome, told.facts["rule"]) == (Outcome.PASS, Outcome.PASS, "ResignMailTo")
    made = await signed(source, message)
    assert [(one.name, one.facts["header.s"]) for one in made] == [("signature", "rsa")]


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
