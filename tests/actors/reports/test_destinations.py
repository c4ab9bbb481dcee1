import pytest

from actors.ports import LookupFailed
from actors.reports.destinations import URIS_MAX, Destination, destinations, read_uris
from tests.fakes import FakeResolver


def addresses(rua: str) -> list[str]:
    return [one.address for one in read_uris(rua) if not one.refused]


@pytest.mark.parametrize(
    ("rua", "expected"),
    [
        ("mailto:d@example.org", ["d@example.org"]),
        ("MAILTO:D.Owner@EXAMPLE.org", ["D.Owner@example.org"]),
        ("mailto:a@example.org , mailto:b@example.org!10m,mailto:c@example.org!5", [f"{x}@example.org" for x in "abc"]),
        ("mailto:a%2Bb@example.org", ["a+b@example.org"]),
        ("mailto:a%21b@example.org!10K", ["a!b@example.org"]),
        ("mailto:d@example.org?subject=x%0D%0ABcc:y@z.example", ["d@example.org"]),
        ("mailto:d@bücher.example", ["d@xn--bcher-kva.example"]),
        ("https://example.org/report, mailto:d@example.org", ["d@example.org"]),
        (",,mailto:d@example.org,", ["d@example.org"]),
        ("", []),
    ],
)
def test_uris_are_read_as_addresses(rua: str, expected: list[str]) -> None:
    assert addresses(rua) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "d@example.org",
        "mailto:",
        "mailto:d",
        "mailto:d%0D%0ARCPT@example.org",
        "mailto:d%00@example.org",
        "mailto:a%2Cb@x@example.org",
        "mailto:<d@example.org>",
        "mailto:d@example.org%0d%0aBcc:v@victim.example",
        "mailto:d@[192.0.2.1]",
        "mailto:d@localhost",
        "mailto:d@example.org!ten",
        "mailto:" + "d" * 4000 + "@example.org",
        "http://example.org/",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_plain_address_is_refused(uri: str) -> None:
    (one,) = read_uris(uri)
    assert one.refused
    assert len(one.address) <= 100
    assert one.address.isprintable()


def test_of_a_huge_list_the_first_are_read() -> None:
    found = read_uris(",".join(f"mailto:d{number}@example.org" for number in range(5000)))
    assert [one.address for one in found if not one.refused] == [f"d{number}@example.org" for number in range(URIS_MAX)]
    assert len(found) == URIS_MAX + 1


async def found(zone: str, domain: str = "example.org", failing: tuple[str, ...] = ()) -> list[tuple[str, bool, bool]]:
    resolver = FakeResolver(zone, failing)
    return [(one.address, bool(one.refused), one.later) for one in await destinations(domain, resolver)]


async def test_an_address_at_the_domain_itself_needs_no_confirmation() -> None:
    resolver = FakeResolver('_dmarc.example.org TXT "v=DMARC1; rua=mailto:d@example.org"')
    assert await destinations("example.org", resolver) == (Destination("d@example.org"),)
    assert len(resolver.questions) == 1


async def test_an_address_in_the_same_organization_needs_none_either() -> None:
    zone = '_dmarc.example.org TXT "v=DMARC1; rua=mailto:d@reports.example.org"'
    assert await found(zone) == [("d@reports.example.org", False, False)]
    sub = '_dmarc.a.example.org TXT "v=DMARC1; rua=mailto:d@example.org"\n_dmarc.example.org TXT "v=DMARC1"'
    assert await found(sub, "a.example.org") == [("d@example.org", False, False)]


ELSEWHERE = '_dmarc.example.org TXT "v=DMARC1; rua=mailto:d@collector.example,mailto:d@example.org"\n'


async def test_another_organization_has_to_confirm() -> None:
    refused = [("d@collector.example", True, False), ("d@example.org", False, False)]
    assert await found(ELSEWHERE) == refused
    confirm = "example.org._report._dmarc.collector.example"
    assert await found(ELSEWHERE + f'{confirm} TXT "v=spf1 -all"') == refused
    assert await found(ELSEWHERE + f'{confirm} TXT "p=none; v=DMARC1"') == refused
    taken = [("d@collector.example", False, False), ("d@example.org", False, False)]
    assert await found(ELSEWHERE + f'{confirm} TXT "v=DMARC1"') == taken
    assert await found(ELSEWHERE + f'{confirm} TXT "v=DMARC1;"\n{confirm} TXT "x"') == taken


async def test_a_part_of_the_domain_that_is_an_organization_of_its_own_has_to_confirm() -> None:
    wanted = '_dmarc.example.org TXT "v=DMARC1; rua=mailto:d@dept.example.org"'
    zone = f'{wanted}\n_dmarc.dept.example.org TXT "v=DMARC1; psd=n"'
    assert await found(zone) == [("d@dept.example.org", True, False)]


@pytest.mark.parametrize(
    ("instead", "expected"),
    [
        ("mailto:big@collector.example", [("big@collector.example", False, False)]),
        (
            "mailto:a@collector.example,mailto:b@collector.example",
            [(f"{x}@collector.example", False, False) for x in "ab"],
        ),
        ("mailto:x@victim.example", [("d@collector.example", True, False)]),
        ("mailto:a@collector.example,mailto:x@victim.example", [("d@collector.example", True, False)]),
        ("mailto:x@sub.collector.example", [("d@collector.example", True, False)]),
        ("https://collector.example/", [("d@collector.example", True, False)]),
    ],
)
async def test_a_host_may_name_other_addresses_of_its_own_only(
    instead: str, expected: list[tuple[str, bool, bool]]
) -> None:
    zone = f'{ELSEWHERE}example.org._report._dmarc.collector.example TXT "v=DMARC1; rua={instead}"'
    assert await found(zone) == [*expected, ("d@example.org", False, False)]


@pytest.mark.parametrize("failing", ["example.org._report._dmarc.collector.example", "_dmarc.collector.example"])
async def test_dns_that_does_not_answer_refuses_for_now(failing: str) -> None:
    assert await found(ELSEWHERE, failing=(failing,)) == [
        ("d@collector.example", True, True),
        ("d@example.org", False, False),
    ]


async def test_a_record_that_cannot_be_looked_up_is_another_matter_than_none() -> None:
    with pytest.raises(LookupFailed):
        await found(ELSEWHERE, failing=("_dmarc.example.org",))
    assert await found("") == []
    assert await found('_dmarc.example.org TXT "v=DMARC1; p=none"') == []
    assert await found('_dmarc.example.org TXT "v=spf1 -all"') == []


async def test_a_name_that_dns_cannot_hold_is_no_confirmation() -> None:
    host = ".".join(["h" * 60] * 4)
    zone = f'_dmarc.example.org TXT "v=DMARC1; rua=mailto:d@{host}"'
    assert await found(zone) == [(f"d@{host}", True, False)]


async def test_a_list_of_hosts_costs_few_questions() -> None:
    rua = ",".join(f"mailto:d@h{number}.example" for number in range(15))  # as many as fit into a record
    resolver = FakeResolver(f'_dmarc.example.org TXT "v=DMARC1; rua={rua}"')
    assert all(one.refused for one in await destinations("example.org", resolver))
    assert len(resolver.questions) < 5 * URIS_MAX


async def test_an_address_that_is_named_twice_is_one() -> None:
    zone = '_dmarc.example.org TXT "v=DMARC1; rua=mailto:d@example.org,mailto:d@EXAMPLE.ORG!10m"'
    assert await found(zone) == [("d@example.org", False, False)]
