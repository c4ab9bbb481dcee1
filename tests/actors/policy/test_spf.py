import asyncio

import pytest

from actors.adapters.clock import SystemClock
from actors.model import Client, Direction, Envelope, Outcome
from actors.policy import spf
from actors.policy.spf import QUERIES_MAX, check_spf, is_for_anybody
from tests.fakes import FakeResolver, budget

ZONE = """
example.net TXT "v=spf1 ip4:192.0.2.0/24 ~all"
helo.example.net TXT "v=spf1 a -all"
helo.example.net A 192.0.2.9
loop.example TXT "v=spf1 include:loop.example -all"
"""


def envelope(
    sender: bytes = b"bo@example.net",
    ip: str = "192.0.2.1",
    helo: bytes = b"helo.example.net",
    direction: Direction = Direction.INBOUND,
) -> Envelope:
    return Envelope(client=Client(ip=ip, helo=helo), sender=sender, direction=direction)


async def test_the_sender_is_checked_and_the_mechanism_named() -> None:
    finding = await check_spf(envelope(), FakeResolver(ZONE), budget())
    assert (finding.actor, finding.name, finding.outcome) == ("policy", "spf", Outcome.PASS)
    assert finding.detail == "ip4:192.0.2.0/24"
    assert finding.facts == {"smtp.mailfrom": "example.net", "domain": "example.net", "client-ip": "192.0.2.1"}


async def test_a_bounce_is_checked_by_its_helo() -> None:
    finding = await check_spf(envelope(b"", "192.0.2.8"), FakeResolver(ZONE), budget())
    assert (finding.outcome, finding.detail) == (Outcome.FAIL, "-all")
    assert finding.facts["smtp.helo"] == finding.facts["domain"] == "helo.example.net"
    assert "smtp.mailfrom" not in finding.facts


@pytest.mark.parametrize(
    ("sender", "ip", "outcome"),
    [
        (b"bo@example.net", "198.51.100.1", Outcome.SOFTFAIL),
        (b"bo@example.net", "::ffff:192.0.2.7", Outcome.PASS),
        (b"bo@example.net", "2001:db8::1", Outcome.SOFTFAIL),
        (b"bo@norecord.example", "192.0.2.1", Outcome.NONE),
        (b"bo@loop.example", "192.0.2.1", Outcome.PERMERROR),
        (b"bo@localhost", "192.0.2.1", Outcome.NONE),
        (b"\xff\xfe@\x00", "192.0.2.1", Outcome.NONE),
        (b"bo@example.net", "no address", Outcome.NONE),
        (b"bo@example.net", "fe80::1%eth0", Outcome.SOFTFAIL),
    ],
)
async def test_every_envelope_has_an_outcome(sender: bytes, ip: str, outcome: Outcome) -> None:
    assert (await check_spf(envelope(sender, ip), FakeResolver(ZONE), budget())).outcome is outcome


@pytest.mark.parametrize("own", [{"ip": ""}, {"direction": Direction.OUTBOUND}, {"direction": Direction.INTERNAL}])
async def test_mail_of_our_own_is_not_checked(own: dict[str, object]) -> None:
    resolver = FakeResolver(ZONE)
    finding = await check_spf(envelope(**own), resolver, budget())  # type: ignore[arg-type]
    assert (finding.outcome, resolver.questions) == (Outcome.SKIPPED, [])


async def test_dns_that_does_not_answer_is_a_temperror() -> None:
    finding = await check_spf(envelope(), FakeResolver(ZONE, failing=["*"]), budget())
    assert finding.outcome is Outcome.TEMPERROR
    assert not finding.detail.startswith("timeout")


async def test_an_evaluation_that_takes_too_long_is_a_temperror_before_the_budget_ends() -> None:
    class Silent(FakeResolver):
        async def txt(self, name: str) -> list[bytes]:  # noqa: ARG002
            await asyncio.Event().wait()
            return []

    limit = budget(seconds=0.05)
    limit.clock = SystemClock()
    limit.deadline_s = limit.clock.monotonic_s() + 0.05
    finding = await check_spf(envelope(), Silent(), limit)
    assert (finding.outcome, finding.detail) == (Outcome.TEMPERROR, "time limit of the evaluation")
    async with budget(seconds=5.0).lookup_timeout(10.0) as wait:
        assert (wait.when() or 0.0) < asyncio.get_running_loop().time() + 4.6


async def test_a_zone_that_asks_for_hundreds_of_questions_is_cut_off() -> None:
    exchanges = "\n".join(f"big{n}.example MX {m} mx{n}x{m}.example" for n in range(10) for m in range(10))
    hosts = "\n".join(f"mx{n}x{m}.example A 198.51.100.1" for n in range(10) for m in range(10))
    record = " ".join(f"mx:big{n}.example" for n in range(10))
    resolver = FakeResolver(f'big.example TXT "v=spf1 {record} -all"\n{exchanges}\n{hosts}')
    finding = await check_spf(envelope(b"bo@big.example"), resolver, budget())
    assert finding.outcome is Outcome.PERMERROR
    assert len(resolver.questions) == QUERIES_MAX


async def test_the_explanation_of_a_failure_is_not_fetched() -> None:
    resolver = FakeResolver('x.example TXT "v=spf1 exp=why.x.example -all"\nwhy.x.example TXT "go away"')
    await check_spf(envelope(b"bo@x.example"), resolver, budget())
    assert [name for name, _ in resolver.questions] == ["x.example"]


async def test_a_bug_of_the_evaluator_is_not_told_as_a_mistake_of_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(spf._Evaluator, "evaluate", broken)
    with pytest.raises(RecursionError):
        await check_spf(envelope(), FakeResolver(ZONE), budget())


class OneRecord(FakeResolver):
    """Answers every TXT question with the same record; `{next}` in it is another name each time."""

    def __init__(self, record: bytes) -> None:
        super().__init__()
        self.record = record

    async def txt(self, name: str) -> list[bytes]:
        self.questions.append((name, "TXT"))
        return [self.record.replace(b"{next}", b"x%d.example" % len(self.questions))]


@pytest.mark.parametrize(
    "record",
    [
        b"v=spf1 " + b" ".join(b"x%d=y" % n for n in range(spf.RECORD_TERMS_MAX)) + b" include:{next}",
        b"v=spf1 a:" + b"y" * spf.RECORD_BYTES_MAX + b" include:{next}",
        b"V=SPF1 " + b" " * 60_000 + b" include:{next}",
    ],
)
async def test_a_record_that_is_too_long_is_not_even_read(record: bytes) -> None:
    resolver = OneRecord(record)
    finding = await check_spf(envelope(), resolver, budget())
    assert (finding.outcome, finding.detail) == (Outcome.PERMERROR, "the record of example.net is too long")
    assert len(resolver.questions) == 1


@pytest.mark.parametrize(
    ("record", "name", "questions"),
    [
        (b"v=spf1 exists:" + b"%{l}" * 51, "example.net", 1),
        (b"v=spf1 exists:%{p}.%{P}.%{p}.%{p}.%{p}.%{p}", "example.net", 1),
        (b"v=spf1 exp=" + b"%{i}" * 20 + b" include:{next}", "x2.example", 3),
        (b"v=spf1 exp=%{p}.%{p} include:{next}", "x2.example", 3),
    ],
)
async def test_macros_of_all_records_together_are_capped(record: bytes, name: str, questions: int) -> None:
    resolver = OneRecord(record)
    finding = await check_spf(envelope(), resolver, budget())
    assert (finding.outcome, finding.detail) == (Outcome.PERMERROR, f"the record of {name} has too many macros")
    assert len(resolver.questions) == questions


@pytest.mark.parametrize(
    ("times", "record", "what"),
    [
        (2, "exists:" + "%{p}" * 3 + ".x.example", "has too many macros"),
        (5, "exists:" + "%{l}" * 12 + ".x.example", "has too many macros"),
        (5, " ".join(["ip6:2001:db8::1"] * 240), "is too long"),
    ],
)
async def test_a_record_counts_as_often_as_it_is_evaluated(times: int, record: str, what: str) -> None:
    def zone(times: int) -> str:
        return f"example.net TXT v=spf1 {' '.join(['include:b.example'] * times)} -all\nb.example TXT v=spf1 {record}"

    finding = await check_spf(envelope(ip="198.51.100.1"), FakeResolver(zone(times)), budget())
    assert (finding.outcome, finding.detail) == (Outcome.PERMERROR, f"the record of b.example {what}")
    once_less = await check_spf(envelope(ip="198.51.100.1"), FakeResolver(zone(times - 1)), budget())
    assert once_less.outcome is Outcome.FAIL


async def test_the_terms_of_all_records_together_are_capped() -> None:
    resolver = OneRecord(b"v=spf1 " + b"ip4:192.0.2.9 " * 240 + b"include:{next}")
    finding = await check_spf(envelope(ip="198.51.100.1"), resolver, budget())
    assert finding.detail == "the record of x4.example is too long"
    assert len(resolver.questions) == 5


@pytest.mark.parametrize(
    ("record", "questions"),
    [
        ("a:many.example", ["many.example"]),
        ("mx:mx.example", ["mx.example", "many.example"]),
        ("a:some.example a:others.example", ["some.example", "others.example"]),
        ("exists:%{p}.example", ["192.0.2.1", "many.example"]),
        ("ptr:many.example", ["192.0.2.1", "many.example"]),
        ("include:texts.example", ["texts.example"]),
    ],
)
async def test_more_records_than_anybody_needs_end_the_evaluation(record: str, questions: list[str]) -> None:
    hosts = {"many": 501, "some": 300, "others": 300}
    addresses = [f"{name}.example A 198.51.{n >> 8}.{n & 255}" for name, count in hosts.items() for n in range(count)]
    texts = [f"texts.example TXT verification={n}" for n in range(500)]
    others = ["mx.example MX 10 many.example", "1.2.0.192.in-addr.arpa PTR many.example"]
    zone = [f'example.net TXT "v=spf1 {record} +all"', *addresses, *texts, *others]
    resolver = FakeResolver("\n".join(zone))
    finding = await check_spf(envelope(), resolver, budget())
    assert (finding.outcome, finding.detail) == (Outcome.PERMERROR, "more than 500 DNS records")
    assert [name for name, _ in resolver.questions] == ["example.net", *questions]


@pytest.mark.parametrize(
    ("record", "ip", "outcome"),
    [
        ("a:h.example", "198.51.100.7", Outcome.PASS),
        ("a:h.example", "198.51.100.6", Outcome.FAIL),
        ("a:h.example/24//48", "198.51.100.6", Outcome.PASS),
        ("a:h.example/24//48", "198.51.101.6", Outcome.FAIL),
        ("a:h.example/0", "203.0.113.1", Outcome.PASS),
        ("a:h.example", "2001:db8:1::7", Outcome.PASS),
        ("a:h.example/24//48", "2001:db8:1:ff::6", Outcome.PASS),
        ("a:h.example/24//48", "2001:db8:2::7", Outcome.FAIL),
    ],
)
async def test_addresses_match_by_their_first_bits(record: str, ip: str, outcome: Outcome) -> None:
    zone = f'example.net TXT "v=spf1 {record} -all"\nh.example A 198.51.100.7\nh.example AAAA 2001:db8:1::7'
    assert (await check_spf(envelope(ip=ip), FakeResolver(zone), budget())).outcome is outcome


@pytest.mark.parametrize(
    ("sender", "asked"),
    [
        (b"bo@example.net", "bo.e.example"),
        (b"x." * 5000 + b"bo@example.net", "x." * 120 + "bo.e.example"),
        (b"x" * 300 + b"@example.net", "e.example"),
    ],
)
async def test_the_name_that_macros_make_keeps_the_labels_at_its_end(sender: bytes, asked: str) -> None:
    resolver = FakeResolver('example.net TXT "v=spf1 exists:%{l}.e.example -all"')
    await check_spf(envelope(sender), resolver, budget())
    assert [name for name, kind in resolver.questions if kind == "A"] == [asked]


async def test_a_domain_may_list_its_senders_one_by_one() -> None:
    record = b"v=spf1 " + b" ".join(b"ip4:192.0.2.%d" % n for n in range(240)) + b" -all"
    finding = await check_spf(envelope(ip="192.0.2.239"), OneRecord(record), budget())
    assert finding.outcome is Outcome.PASS


async def test_long_texts_beside_the_record_do_not_matter() -> None:
    class Verbose(FakeResolver):
        async def txt(self, name: str) -> list[bytes]:  # noqa: ARG002
            return [b"verification=" + b"x " * 30_000, b"v=spf10 " + b"x " * 30_000, b"v=spf1 -all"]

    assert (await check_spf(envelope(), Verbose(), budget())).outcome is Outcome.FAIL


async def test_what_is_wrong_with_a_record_is_told_in_few_words() -> None:
    finding = await check_spf(envelope(), OneRecord(b"v=spf1 " + b"?" * 4000), budget())
    assert (finding.outcome, len(finding.detail)) == (Outcome.PERMERROR, spf.DETAIL_CHARS_MAX)


async def test_a_number_beyond_pythons_limit_is_a_permerror() -> None:
    resolver = FakeResolver(f'x.example TXT "v=spf1 a:%{{d{"1" * 5000}}}.example -all"')
    assert (await check_spf(envelope(b"bo@x.example"), resolver, budget())).outcome is Outcome.PERMERROR


async def test_internationalised_senders_are_checked_by_their_a_labels() -> None:
    """RFC 8616 section 4: the domain as A-labels; terms with a local part that is not ASCII do not match."""
    terms = " ".join(f"exists:%{{l}}.{n}.example" for n in range(4))
    zone = f'xn--bcher-kva.example TXT "v=spf1 {terms} ip4:192.0.2.0/24 -all"'
    resolver = FakeResolver(zone)
    finding = await check_spf(envelope("jürgen@bücher.example".encode()), resolver, budget())
    assert (finding.outcome, finding.facts["domain"]) == (Outcome.PASS, "xn--bcher-kva.example")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("v=spf1 +all", True),
        ("v=spf1 all", True),
        ("v=spf1 ip4:0.0.0.0/0 -all", True),
        ("v=spf1 ip4:192.0.0.0/2 -all", True),
        ("v=spf1 ip4:192.0.2.0/24 +all", False),
        ("v=spf1 ip4:192.0.0.0/8 -all", False),
        ("v=spf1 ~all", False),
        ("v=spf1 -all", False),
        ("v=spf1 ?all", False),
    ],
)
async def test_a_record_that_lets_anybody_send_is_told(record: str, *, told: bool) -> None:
    finding = await check_spf(envelope(), FakeResolver(f'example.net TXT "{record}"'), budget())
    assert is_for_anybody(finding) is told
