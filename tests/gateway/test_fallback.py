import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fallback import DECISIONS, Case, Fallback, FallbackConfig
from gateway.transaction import Client, Identity, Recipient, Transaction
from tamis.filter.v1 import message_pb2
from wire.trace import TraceContext

CLIENT = Client(ip="192.0.2.7", helo=b"client.example", mta_name="mx.recipient.example")


def transaction(
    *recipients: bytes, sender: bytes = b"anna@shop.example", headers: bytes | None = b"From: anna@shop.example\r\n"
) -> Transaction:
    made = Transaction(
        identity=Identity(b"i" * 16, TraceContext(1, 2, sampled=False), 0, 0.0),
        client=CLIENT,
        auth_user=b"",
        direction=message_pb2.DIRECTION_INBOUND,
        tenant="",
        sender=sender,
        esmtp_args=(),
    )
    made.recipients += [Recipient(address, (), "") for address in recipients]
    made.header_block = headers
    return made


def decided(config: FallbackConfig, case: Case) -> tuple[str, str] | None:
    decision = Fallback(config).decide(case)
    return None if decision is None else (decision.rule, decision.action)


def message(known: Transaction, client: Client = CLIENT) -> Case:
    return Case(client, known, whole_message=True)


def test_without_rules_nothing_is_decided_here() -> None:
    known = transaction(b"b@b.example", headers=b"")
    assert decided(FallbackConfig(), message(known)) is None
    assert decided(FallbackConfig(own_names=("client.example",)), message(known)) is None


@pytest.mark.parametrize(
    ("networks", "ip", "inside"),
    [
        (("192.0.2.0/24",), "192.0.2.7", True),
        (("192.0.2.7",), "192.0.2.7", True),
        (("192.0.2.0/24",), "192.0.3.7", False),
        (("192.0.2.0/24",), "::ffff:192.0.2.7", True),
        (("2001:db8::/32",), "2001:db8::1", True),
        (("2001:db8::/32",), "192.0.2.7", False),
        (("0.0.0.0/0", "::/0"), "", False),
        (("0.0.0.0/0", "::/0"), "unknown", False),
    ],
)
def test_clients_are_known_by_network(networks: tuple[str, ...], ip: str, *, inside: bool) -> None:
    case = Case(Client(ip=ip))
    assert decided(FallbackConfig(allow_clients=networks), case) == (("allow_clients", "accept") if inside else None)
    assert decided(FallbackConfig(deny_clients=networks), case) == (("deny_clients", "reject") if inside else None)


@pytest.mark.parametrize(
    ("entry", "sender", "inside"),
    [
        ("shop.example", b"anna@shop.example", True),
        ("shop.example", b"anna@Mail.SHOP.example", True),
        ("shop.example", b"anna@otshop.example", False),
        ("shop.example.", b"anna@shop.example", True),
        ("anna@shop.example", b"Anna@shop.example", True),
        ("anna@shop.example", b"ben@shop.example", False),
        ("anna@shop.example", b"x.anna@shop.example", False),
        ("shop.example", b"", False),
        ("shop.example", b"\xff\xfe", False),
        ("b\u00fccher.example", "anna@b\u00dccher.example".encode(), True),
    ],
)
def test_senders_are_known_by_address_or_domain(entry: str, sender: bytes, *, inside: bool) -> None:
    case = Case(CLIENT, transaction(sender=sender))
    assert decided(FallbackConfig(allow_senders=(entry,)), case) == (("allow_senders", "accept") if inside else None)
    assert decided(FallbackConfig(deny_senders=(entry,)), case) == (("deny_senders", "reject") if inside else None)


def test_a_denied_recipient_is_refused_alone_and_a_message_only_when_all_are_denied() -> None:
    config = FallbackConfig(deny_recipients=("trap.example",))
    known = transaction(b"a@trap.example", b"b@b.example")
    assert decided(config, Case(CLIENT, known, recipient=0)) == ("deny_recipients", "reject")
    assert decided(config, Case(CLIENT, known, recipient=1)) is None
    assert decided(config, Case(CLIENT, known, recipient=2)) is None
    assert decided(config, message(known)) is None
    known.refused.add(1)
    assert decided(config, message(known)) == ("deny_recipients", "reject")
    known.refused.add(0)
    assert decided(config, message(known)) is None


def test_helo_names_are_known_with_what_is_below_them() -> None:
    config = FallbackConfig(deny_helos=("dynamic.example", "[192.0.2.9]"))
    assert decided(config, Case(Client(helo=b"host-7.dynamic.example"))) == ("deny_helos", "reject")
    assert decided(config, Case(Client(helo=b"[192.0.2.9]"))) == ("deny_helos", "reject")
    assert decided(config, Case(Client(helo=b"dynamic.example.org"))) is None


def test_a_larger_message_is_refused() -> None:
    known = transaction()
    known.body_bytes = 1000
    assert decided(FallbackConfig(message_bytes_max=999), message(known)) == ("message_bytes_max", "reject")
    assert decided(FallbackConfig(message_bytes_max=1000), message(known)) is None


@pytest.mark.parametrize(
    ("helo", "ip", "forged"),
    [
        (b"mx.recipient.example", "192.0.2.7", True),
        (b"MX.recipient.example.", "192.0.2.7", True),
        (b"[203.0.113.1]", "192.0.2.7", True),
        (b"client.example", "192.0.2.7", False),
        (b"", "192.0.2.7", False),
        (b"mx.recipient.example", "127.0.0.1", False),
        (b"mx.recipient.example", "", False),
    ],
)
def test_a_foreign_client_may_not_say_that_it_is_us(helo: bytes, ip: str, *, forged: bool) -> None:
    config = FallbackConfig(own_names=("[203.0.113.1]",), rules={"forged_helo": "reject"})
    case = Case(Client(ip=ip, helo=helo, mta_name="mx.recipient.example"))
    assert decided(config, case) == (("forged_helo", "reject") if forged else None)


@pytest.mark.parametrize(
    ("helo", "bare"),
    [(b"192.0.2.7", True), (b"2001:db8::1", True), (b"[192.0.2.7]", False), (b"192.0.2.7.example", False)],
)
def test_an_address_in_helo_stands_in_brackets(helo: bytes, *, bare: bool) -> None:
    config = FallbackConfig(rules={"bare_ip_helo": "tempfail"})
    assert decided(config, Case(Client(helo=helo))) == (("bare_ip_helo", "tempfail") if bare else None)


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        (b"Subject: x\r\n", "no_from"),
        (b"", "no_from"),
        (b"X-A: folded\r\n From: inside\r\n", "no_from"),
        (b"Resent-From: a@a.example\r\n", "no_from"),
        (b"Subject: x\r\nFROM : a@a.example\r\n", None),
        (b"From: a@a.example\r\nfrom: b@b.example\r\n", "many_from"),
        (None, None),
    ],
)
def test_a_message_has_exactly_one_from(headers: bytes | None, rule: str | None) -> None:
    config = FallbackConfig(rules={"no_from": "reject", "many_from": "reject"})
    known = transaction(b"b@b.example", headers=headers)
    assert decided(config, message(known)) == ((rule, "reject") if rule else None)
    assert decided(config, Case(CLIENT, known, recipient=0)) is None


def test_the_client_outranks_what_refuses_and_that_outranks_the_sender() -> None:
    known = transaction(b"b@b.example", headers=b"")
    refusing = {"deny_senders": ("shop.example",), "rules": {"no_from": "tempfail"}}
    allowed = FallbackConfig(allow_clients=("192.0.2.7",), deny_clients=("192.0.2.0/24",), **refusing)
    assert decided(allowed, message(known)) == ("allow_clients", "accept")
    sender = ("anna@shop.example",)
    assert decided(FallbackConfig(allow_senders=sender, **refusing), message(known)) == ("deny_senders", "reject")
    rule = FallbackConfig(allow_senders=sender, rules={"no_from": "tempfail"})
    assert decided(rule, message(known)) == ("no_from", "tempfail")


EVERYTHING = FallbackConfig(
    allow_clients=("10.0.0.0/8",),
    deny_clients=("192.0.2.0/24",),
    allow_senders=("a.example",),
    deny_senders=("b.example",),
    deny_recipients=("c.example",),
    deny_helos=("d.example",),
    message_bytes_max=10,
    rules=dict.fromkeys(("forged_helo", "bare_ip_helo", "no_from", "many_from"), "tempfail"),
)


@given(
    ip=st.text(max_size=9),
    helo=st.binary(max_size=9),
    address=st.binary(max_size=9),
    headers=st.binary(max_size=9),
    whole=st.booleans(),
)
def test_any_bytes_get_a_decision_with_a_known_name_or_none(
    ip: str, helo: bytes, address: bytes, headers: bytes, *, whole: bool
) -> None:
    known = transaction(address, sender=address, headers=headers)
    case = Case(Client(ip=ip, helo=helo), known, recipient=None if whole else 0, whole_message=whole)
    decision = Fallback(EVERYTHING).decide(case)
    assert decision is None or decision.rule in DECISIONS
