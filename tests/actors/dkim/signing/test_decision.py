"""Who signs, as opendkim(8) has it under OPERATION: one case for each rule, and what it says."""

from dataclasses import replace

import pytest

from actors.dkim.signing.author import AuthorError, author_of
from actors.dkim.signing.decision import Decision, Disposition, SigningRules, decide_signing
from actors.dkim.signing.hosts import HostList
from actors.dkim.signing.tables import Entry, NamedTable, PatternTable, SigningTables
from actors.model import Client, Envelope, Message, Recipient

TABLES = SigningTables(
    PatternTable([Entry("*@example.org", "main")]), NamedTable([Entry("main", "example.org:sel:/keys/main")])
)
RULES = SigningRules()
LOCAL = Client(ip="127.0.0.1", hostname=b"localhost")
STRANGER = Client(ip="203.0.113.9", hostname=b"mx.example.net")


def mail(client: Client = LOCAL, sender: str = "a@example.org", to: str = "b@example.net", daemon: str = "") -> Message:
    envelope = Envelope(
        client=client, recipients=(Recipient(b"c@example.net"), Recipient(to.encode())), daemon_name=daemon
    )
    return Message(envelope, f"From: A <{sender}>\r\n".encode() if sender else b"To: x\r\n")


async def decide(message: Message, rules: SigningRules = RULES, **macros: str) -> Decision:
    return await decide_signing(message, macros, rules, TABLES)


def said(decision: Decision, rule: str) -> tuple[bool, str]:
    (step,) = (step for step in decision.steps if step.rule == rule)
    return step.applies, step.text


async def test_mail_of_an_internal_host_is_signed_with_the_tables_key() -> None:
    decision = await decide(mail())
    assert decision.disposition is Disposition.SIGN
    assert [(one.domain, one.selector) for one in decision.requests] == [("example.org", "sel")]
    assert said(decision, "InternalHosts") == (True, "client localhost [127.0.0.1] matches 127.0.0.1")
    assert said(decision, "SigningTable") == (True, "*@example.org asks for main (d=example.org, s=sel)")


ORIGINS = {
    "authenticated": (Client(ip="203.0.113.9", auth_type="PLAIN"), "", {}),
    "MTA": (STRANGER, "submission", {}),
    "MacroList": (STRANGER, "", {"ours": "anything"}),
    "MacroList ": (STRANGER, "", {"level": "2"}),
    "InternalHosts": (LOCAL, "", {}),
}
WIDE = SigningRules(mtas=frozenset({"submission"}), macros={"ours": frozenset(), "level": frozenset({"1", "2"})})


@pytest.mark.parametrize("rule", ORIGINS)
async def test_one_origin_is_enough(rule: str) -> None:
    client, daemon, macros = ORIGINS[rule]
    decision = await decide(mail(client, daemon=daemon), WIDE, **macros)
    assert decision.disposition is Disposition.SIGN
    assert next(step.rule for step in decision.steps[1:] if step.applies) == rule.strip()


async def test_a_stranger_who_uses_our_domain_is_verified_and_remarked_on() -> None:
    decision = await decide(mail(STRANGER, daemon="smtpd"), WIDE, level="3")
    assert decision.disposition is Disposition.VERIFY
    assert decision.suspicious
    assert decision.requests == ()
    assert said(decision, "MTA") == (False, "the MTA's daemon smtpd is not listed")
    assert said(decision, "MacroList") == (False, "no macro is as listed")
    assert said(decision, "authenticated") == (False, "not authenticated")
    assert not said(decision, "ExternalIgnoreList")[0]


async def test_the_external_ignore_list_takes_away_the_remark_and_nothing_else() -> None:
    decision = await decide(mail(STRANGER), SigningRules(external_ignore=HostList([".example.net"])))
    assert decision.disposition is Disposition.VERIFY
    assert not decision.suspicious


async def test_a_stranger_with_a_domain_of_his_own_is_verified_without_remark() -> None:
    decision = await decide(mail(STRANGER, sender="a@example.net"))
    assert (decision.disposition, decision.suspicious) == (Disposition.VERIFY, False)


async def test_internal_mail_of_a_domain_without_key_is_verified() -> None:
    decision = await decide(mail(sender="a@example.net"))
    assert decision.disposition is Disposition.VERIFY
    assert said(decision, "SigningTable") == (False, "no entry for a@example.net")


async def test_an_excluded_internal_host_is_not_ours() -> None:
    rules = SigningRules(internal_hosts=HostList(["127.0.0.0/8", "!127.0.0.1"]))
    decision = await decide(mail(), rules)
    assert decision.disposition is Disposition.VERIFY
    assert said(decision, "InternalHosts") == (False, "client localhost [127.0.0.1] matches !127.0.0.1")


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        (SigningRules(peers=HostList(["localhost"])), "PeerList"),
        (SigningRules(exempt_domains=NamedTable([Entry("Example.org", "")])), "ExemptDomains"),
        (SigningRules(dont_sign_mail_to=NamedTable([Entry("B@example.net", "")])), "DontSignMailTo"),
        (SigningRules(dont_sign_mail_to=PatternTable([Entry("b@*", "")])), "DontSignMailTo"),
    ],
)
async def test_what_is_left_alone_is_neither_signed_nor_verified(rules: SigningRules, rule: str) -> None:
    decision = await decide(mail(), rules)
    assert decision.disposition is Disposition.IGNORE
    assert decision.steps[-1].rule == rule
    assert decision.steps[-1].applies


EXEMPT = SigningRules(exempt_domains=NamedTable([Entry("example.org", "")]), sender_headers=("sender", "from"))


async def test_a_strangers_mail_is_exempt_when_dmarc_takes_the_exempt_domain_for_its_author() -> None:
    assert (await decide(mail(STRANGER), EXEMPT)).disposition is Disposition.IGNORE


@pytest.mark.parametrize(
    "headers",
    [
        b"From: a@example.org, <admin@bank.example>\r\n",
        b"From: admin@bank.example <a@example.org>\r\n",
        b"Sender: a@example.org\r\nFrom: <admin@bank.example>\r\n",
        b"Sender: a@example.org\r\nFrom: a@example.org\r\nFrom: <admin@bank.example>\r\n",
    ],
)
async def test_a_stranger_who_names_an_exempt_domain_beside_another_is_verified(headers: bytes) -> None:
    decision = await decide(Message(Envelope(client=STRANGER), headers), EXEMPT)
    assert decision.disposition is Disposition.VERIFY
    assert said(decision, "ExemptDomains") == (False, "example.org is exempt, but not surely the author")
    ours = await decide(Message(Envelope(client=LOCAL), headers), EXEMPT)
    assert (ours.disposition, ours.of_origin) == (Disposition.IGNORE, True)


async def test_an_excluded_peer_is_nobody_special() -> None:
    rules = SigningRules(peers=HostList([".example.net", "!mx.example.net"]))
    assert (await decide(mail(replace_client(STRANGER)), rules)).disposition is Disposition.SIGN


def replace_client(client: Client) -> Client:
    return Client(ip=client.ip, hostname=client.hostname, auth_type="PLAIN")


async def test_mail_of_others_is_not_spared_for_its_recipients() -> None:
    rules = SigningRules(dont_sign_mail_to=NamedTable([Entry("b@example.net", "")]))
    assert (await decide(mail(STRANGER), rules)).disposition is Disposition.VERIFY


@pytest.mark.parametrize(
    ("signs", "verifies", "ours", "others"),
    [
        (True, False, Disposition.SIGN, Disposition.IGNORE),
        (False, True, Disposition.VERIFY, Disposition.VERIFY),
        (True, True, Disposition.SIGN, Disposition.VERIFY),
    ],
)
async def test_the_mode_has_the_last_word(signs: bool, verifies: bool, ours: str, others: str) -> None:  # noqa: FBT001
    rules = replace(RULES, signs=signs, verifies=verifies)
    assert (await decide(mail(), rules)).disposition == ours
    assert (await decide(mail(STRANGER), rules)).disposition == others


async def test_mail_without_author_is_not_signed() -> None:
    decision = await decide(mail(sender=""))
    assert decision.disposition is Disposition.VERIFY
    assert said(decision, "SenderHeaders") == (False, "there is no from field")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b" joe@example.org", "joe@example.org"),
        (b' "Doe, Joe" <joe@example.org>', "joe@example.org"),
        (b" Joe\r\n <joe@Example.ORG> (him)", "joe@example.org"),
        (b" (a (nested) <x@evil.example>) joe@example.org", "joe@example.org"),
        (b" joe@example.org, ann@example.net", "joe@example.org"),
        (b" Joe <joe@example.org>, Ann <ann@example.net>", "joe@example.org"),
        (b" Friends: joe@example.org;", "joe@example.org"),
        (b' "joe doe"@example.org', "joe doe@example.org"),
        (b' "joe@evil.example"@example.org', "joe@evil.example@example.org"),
        (b" <@relay.example,@other.example:joe@example.org>", "joe@example.org"),
        ("jö@müller.example".encode(), "jö@xn--mller-kva.example"),
    ],
)
def test_the_author_is_the_first_address(value: bytes, address: str) -> None:
    assert str(author_of({b"from": [(b"From", value)]})) == address


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" Joe",
        b" joe@",
        b" @example.org",
        b" joe@localhost",
        b' "joe@example.org"',
        b' "joe <joe@example.org>',
        b" (joe@example.org",
        b" joe@[192.0.2.1]",
        b" " + b"(" * 8000 + b"a@example.org",
        b" a@example.org" + b" x" * 5000,
        b" \xff\xfe",
        b" <x@a\\;l=0.example.org>",
        b" <x@../../etc/shadow.example.org>",
        b" <x@a/b.example.org>",
    ],
)
def test_what_names_no_address_is_refused(value: bytes) -> None:
    with pytest.raises(AuthorError):
        author_of({b"from": [(b"From", value)]})


def test_the_first_of_the_sender_headers_counts_and_several_of_it_do_not() -> None:
    fields = {b"from": [(b"From", b"a@example.org")], b"sender": [(b"Sender", b"b@example.net")]}
    assert str(author_of(fields, ("Sender", "From"))) == "b@example.net"
    assert str(author_of({b"from": fields[b"from"]}, ("Sender", "From"))) == "a@example.org"
    with pytest.raises(AuthorError, match="2 from fields"):
        author_of({b"from": fields[b"from"] * 2})
