import pytest

from actors.config import Lists
from actors.policy.lists import AddressList, NameList, NetworkList, address_keys

NETWORKS = NetworkList(["192.0.2.1", "198.51.100.0/24", "2001:db8::/32", "203.0.113.77/28"])


@pytest.mark.parametrize(
    ("ip", "entry"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", None),
        ("198.51.100.255", "198.51.100.0/24"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("2001:db8::1", "2001:db8::/32"),
        ("2001:db9::1", None),
        ("203.0.113.64", "203.0.113.77/28"),
        ("", None),
        ("unknown", None),
    ],
)
def test_an_address_is_found_in_its_network(ip: str, entry: str | None) -> None:
    assert NETWORKS.match(ip) == entry


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("mail.example.org", "mail.example.org"),
        ("mail.example.org.", "mail.example.org"),
        ("x.mail.example.org", None),
        ("a.b.example.net", ".example.net"),
        ("a." * 100 + "example.net", ".example.net"),
        ("example.net", None),
        ("badexample.net", None),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("", None),
    ],
)
def test_a_name_is_itself_and_a_dot_before_it_means_all_below(name: str, entry: str | None) -> None:
    assert NameList(["MAIL.example.org", ".example.NET", "[192.0.2.1]"]).match(name) == entry


def test_networks_of_one_number_but_two_families_are_kept_apart() -> None:
    assert NetworkList(["0.0.0.1"]).match("::1") is None


def test_everything_is_a_network_too() -> None:
    assert NetworkList(["0.0.0.0/0"]).match("192.0.2.9") == "0.0.0.0/0"


@pytest.mark.parametrize(
    ("address", "entry"),
    [
        ("bo@example.org", "bo@example.org"),
        ("ann@example.org", None),
        ("x@example.net", "example.net"),
        ("x@mail.example.net", "example.net"),
        ("x@badexample.net", None),
        ("x@sub.at.example", "at.example"),
        ("", None),
    ],
)
def test_a_domain_covers_its_subdomains_and_an_address_only_itself(address: str, entry: str | None) -> None:
    assert AddressList(["Bo@example.org", "EXAMPLE.net", "@at.example"]).match(address) == entry


def test_the_keys_of_an_address_are_few() -> None:
    assert list(address_keys("a@b.c")) == ["a@b.c", "b.c", "c"]
    assert len(list(address_keys("a@" + "x." * 120 + "org"))) == 11


def test_a_client_list_refuses_what_is_no_address() -> None:
    with pytest.raises(ValueError, match=r"deny_clients.*300\.1\.1\.1"):
        Lists(deny_clients=("300.1.1.1",))
