"""DNS from a file: what is in it, what is not, and what is wrong with it."""

from pathlib import Path

import pytest

from actors.adapters.zone import ZoneResolver
from actors.ports import LookupFailed, NameNotFound

ZONE = """
# a comment
; another
example.org.        TXT   "v=spf1 ip4:192.0.2.0/24 " "-all"
Example.ORG         TXT   second record without quotes
key._domainkey.example.org TXT "v=DKIM1; p=AB" "CD" "EF"
example.org         A     192.0.2.1
example.org         AAAA  2001:DB8::1
example.org         MX    10 mail.example.org.
example.org         MX    20 backup.example.org
silent.example.org  MX    0 .
1.2.0.192.in-addr.arpa PTR mail.example.org.
alias.example.org   CNAME other.example.org
other.example.org   CNAME example.org
loop.example.org    CNAME loop.example.org
escaped.example.org TXT   "a \\"quoted\\" \\\\ \\233 é"
"""


@pytest.fixture
def zone() -> ZoneResolver:
    return ZoneResolver.from_text(ZONE)


async def test_quoted_strings_of_a_txt_are_joined_and_records_stay_apart(zone: ZoneResolver) -> None:
    assert await zone.txt("example.org") == [b"v=spf1 ip4:192.0.2.0/24 -all", b"second record without quotes"]
    assert await zone.txt("key._domainkey.example.org") == [b"v=DKIM1; p=ABCDEF"]


async def test_names_are_found_in_any_case_and_with_a_final_dot(zone: ZoneResolver) -> None:
    assert await zone.addresses("EXAMPLE.org.") == ["192.0.2.1"]
    assert await zone.addresses("example.org", ipv6=True) == ["2001:db8::1"]


async def test_mx_pairs_keep_the_null_mx(zone: ZoneResolver) -> None:
    assert await zone.mx("example.org") == [(10, "mail.example.org"), (20, "backup.example.org")]
    assert await zone.mx("silent.example.org") == [(0, ".")]


async def test_ptr_is_asked_by_address(zone: ZoneResolver) -> None:
    assert await zone.ptr("192.0.2.1") == ["mail.example.org"]


async def test_cnames_are_followed_but_not_for_ever(zone: ZoneResolver) -> None:
    assert await zone.addresses("alias.example.org") == ["192.0.2.1"]
    with pytest.raises(LookupFailed):
        await zone.addresses("loop.example.org")


async def test_ttl_class_and_comments_of_master_files_are_passed_over() -> None:
    lines = [
        '\ufeffexample.org 3600 IN TXT "v=spf1 " "-all" ; the record',
        "example.org IN A 192.0.2.1 ; a host",
        "example.org 60 MX 10 mx.example.org ; mail",
        "example.net TXT v=spf1 -all; kept",
    ]
    zone = ZoneResolver.from_text("\n".join(lines))
    assert await zone.txt("example.org") == [b"v=spf1 -all"]
    assert await zone.addresses("example.org") == ["192.0.2.1"]
    assert await zone.mx("example.org") == [(10, "mx.example.org")]
    assert await zone.txt("example.net") == [b"v=spf1 -all; kept"]


async def test_names_without_a_final_dot_are_below_the_origin_once_there_is_one() -> None:
    lines = [
        "before.example.org A 192.0.2.1",
        "$TTL 300",
        "$ORIGIN Example.org. ; from here on",
        '2026a._domainkey\t3600\tIN\tTXT\t( "v=DKIM1; " "p=AB" ) ; the key',
        "@ MX 10 mx",
        "www CNAME example.net.",
        "example.net. A 192.0.2.2",
        "$ORIGIN sub",
        "a PTR @",
        "$origin .",
        "top A 192.0.2.3",
    ]
    zone = ZoneResolver.from_text("\n".join(lines))
    assert await zone.addresses("before.example.org") == ["192.0.2.1"]
    assert await zone.txt("2026a._domainkey.example.org") == [b"v=DKIM1; p=AB"]
    assert await zone.mx("example.org") == [(10, "mx.example.org")]
    assert await zone.addresses("www.example.org") == ["192.0.2.2"]
    assert await zone.addresses("top") == ["192.0.2.3"]
    with pytest.raises(NameNotFound) as caught:
        await zone.txt("a.sub.example.org")
    assert not caught.value.nxdomain


async def test_a_txt_in_brackets_is_one_record_and_brackets_in_a_text_are_text() -> None:
    zone = ZoneResolver.from_text('a.example TXT ("a" "b")\nb.example TXT (a) b\nc.example TXT "(c)"')
    assert [await zone.txt(f"{name}.example") for name in "abc"] == [[b"ab"], [b"(a) b"], [b"(c)"]]


async def test_escapes_are_those_of_zone_files(zone: ZoneResolver) -> None:
    assert await zone.txt("escaped.example.org") == [b'a "quoted" \\ \xe9 \xc3\xa9']


@pytest.mark.parametrize(
    ("name", "nxdomain"),
    [
        ("missing.example.org", True),
        ("example.com", True),
        ("silent.example.org", False),
        ("_domainkey.example.org", False),
        ("", True),
        ("a..b", True),
        ("x" * 64 + ".example.org", True),
        ("x." * 127 + "org", True),
        ("bücher.example", True),
        ("with space.example", True),
        ("nul\0.example", True),
    ],
)
async def test_what_is_not_there_is_said_with_its_reason(zone: ZoneResolver, name: str, *, nxdomain: bool) -> None:
    with pytest.raises(NameNotFound) as caught:
        await zone.txt(name)

    assert caught.value.nxdomain is nxdomain


async def test_what_is_no_address_has_no_name(zone: ZoneResolver) -> None:
    with pytest.raises(NameNotFound):
        await zone.ptr("not an address")


@pytest.mark.parametrize(
    "line",
    [
        "example.org",
        "example.org TXT",
        "example.org SRV 0 0 25 mail.example.org",
        "example.org A 192.0.2.300",
        "example.org AAAA 192.0.2.1",
        "example.org MX mail.example.org",
        "example.org MX ten mail.example.org",
        "example.org PTR two names",
        'example.org TXT "not closed',
        'example.org TXT ( "not closed"',
        'example.org TXT ( "closed" ) "and more"',
        'example.org TXT "not opened" )',
        "$ORIGIN",
        "$ORIGIN a..b",
        "$ORIGIN a.example b.example",
        "$INCLUDE other",
        'example.org TXT "closed" and more',
        'example.org TXT "\\999"',
        "a..b A 192.0.2.1",
    ],
)
def test_a_bad_line_is_named_with_file_and_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "zone"
    path.write_text(f"# first\n{line}\n")

    with pytest.raises(ValueError, match=r"zone:2: ."):
        ZoneResolver.from_file(path)


async def test_a_file_with_bytes_that_are_no_utf8_is_read(tmp_path: Path) -> None:
    path = tmp_path / "zone"
    path.write_bytes(b'example.org TXT "\xff\xfe"\n')

    assert await ZoneResolver.from_file(path).txt("example.org") == [b"\xff\xfe"]
