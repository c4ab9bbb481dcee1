"""Lists of hosts: names first, then addresses from the narrowest network to the widest; "!" excludes."""

import pytest

from actors.dkim.signing.hosts import HostList

LIST = HostList(
    [
        "127.0.0.1",
        "192.0.2.0/24",
        "!192.0.2.7",
        "192.0.2.64/26",
        "!192.0.2.64/27",
        "10.0.0.0/8",
        "!10.1.0.0/16",
        "10.1.2.3",
        "[2001:db8::1]",
        "2001:db8:1::/48",
        "!2001:DB8:1:2::/64",
        "mail.example.org",
        ".example.net",
        "!bad.example.net",
        "::ffff:198.51.100.0/120",
    ]
)


@pytest.mark.parametrize(
    ("hostname", "ip", "entry", "listed"),
    [
        ("", "127.0.0.1", "127.0.0.1", True),
        ("", "192.0.2.6", "192.0.2.0/24", True),
        ("", "192.0.2.7", "!192.0.2.7", False),
        ("", "192.0.2.70", "!192.0.2.64/27", False),
        ("", "192.0.2.100", "192.0.2.64/26", True),
        ("", "10.2.0.1", "10.0.0.0/8", True),
        ("", "10.1.0.1", "!10.1.0.0/16", False),
        ("", "10.1.2.3", "10.1.2.3", True),
        ("", "2001:db8::1", "[2001:db8::1]", True),
        ("", "2001:db8:1:1::5", "2001:db8:1::/48", True),
        ("", "2001:db8:1:2::5", "!2001:DB8:1:2::/64", False),
        ("", "::ffff:192.0.2.6", "192.0.2.0/24", True),
        ("", "198.51.100.9", "::ffff:198.51.100.0/120", True),
        ("MAIL.example.org.", "203.0.113.1", "mail.example.org", True),
        ("a.b.example.net", "203.0.113.1", ".example.net", True),
        ("bad.example.net", "203.0.113.1", "!bad.example.net", False),
        ("bad.example.net", "10.2.0.1", "10.0.0.0/8", True),
        ("mail.example.org", "192.0.2.7", "mail.example.org", True),
    ],
)
def test_the_most_precise_entry_decides(hostname: str, ip: str, entry: str, listed: bool) -> None:  # noqa: FBT001
    match = LIST.match(hostname, ip)
    assert match is not None
    assert (match.entry, match.listed) == (entry, listed)


@pytest.mark.parametrize(
    ("hostname", "ip"),
    [("", ""), ("unknown", "203.0.113.1"), ("example.net", "203.0.113.1"), ("notmail.example.org", "::1"), ("", "x")],
)
def test_others_match_nothing(hostname: str, ip: str) -> None:
    assert LIST.match(hostname, ip) is None


def test_what_is_listed_and_excluded_alike_is_excluded() -> None:
    for entries in (["192.0.2.1", "!192.0.2.1"], ["!192.0.2.1/32", "192.0.2.1"]):
        match = HostList(entries).match("", "192.0.2.1")
        assert match is not None
        assert not match.listed


def test_a_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.0/33"):
        HostList(["192.0.2.0/33"])


def test_patterns_are_looked_for_with_the_exclamation_mark_first() -> None:
    hosts = HostList(["192.0.2.9", "!192.0.2.0/24"], ["192.0.2.*", "!192.0.2.7*", "Relay*.example", "*.star.example"])
    found = {ip: hosts.match("", ip) for ip in ("192.0.2.1", "192.0.2.9", "192.0.2.77", "192.0.3.1")}
    assert {ip: match and (match.entry, match.listed) for ip, match in found.items()} == {
        "192.0.2.1": ("192.0.2.*", True),
        "192.0.2.9": ("192.0.2.9", True),
        "192.0.2.77": ("!192.0.2.7*", False),
        "192.0.3.1": None,
    }
    names = {name: hosts.match(name, "") for name in ("relay1.example", "x.star.example")}
    assert {name: match and match.listed for name, match in names.items()} == {
        "relay1.example": True,
        "x.star.example": False,
    }


def test_what_is_no_network_is_told_unless_it_may_be_a_secret() -> None:
    with pytest.raises(ValueError, match=r"'192\.0\.2\.0/40' is no network"):
        HostList(["192.0.2.0/40"])
    with pytest.raises(ValueError, match=r"^an entry with a slash is no network$"):
        HostList(["MIIEvQIBADANBgkqhkiG9w0BAQEF/ASC"])
