"""Where data sets of a directory lie, in OpenDKIM's form."""

import pytest

from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.ldap_place import LdapPlace, components, fill, parse_ldap_place

_PLAIN = "ldap://h/dc=example?a?sub?(mail=$d)"


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        (
            "ldap://db.example/ou=keys,dc=example?dkimDomain,dkimSelector,dkimKey?sub?(&(a=b)(cn=$d))",
            LdapPlace(
                (("db.example", 389),),
                tls=False,
                base="ou=keys,dc=example",
                attributes=("dkimDomain", "dkimSelector", "dkimKey"),
                scope="sub",
                filter="(&(a=b)(cn=$d))",
            ),
        ),
        (
            "ldaps://[::1]:1636/$D,o=a%20b?v?ONE?(x=%3F) ldaps://other",
            LdapPlace((("::1", 1636), ("other", 636)), True, "$D,o=a b", ("v",), "one", "(x=?)"),
        ),
        ("ldap:///", LdapPlace((("localhost", 389),), False, "", (), "base", "(objectClass=*)")),
    ],
)
def test_a_place_is_read(setting: str, place: LdapPlace) -> None:
    assert parse_ldap_place(setting) == place


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("ldapi://h/b", "is up to 8 URLs"),
        ("ldap:b", "is up to 8 URLs"),
        ("ldap://h/b ldap:h", "are all ldap:"),
        (" ".join(["ldap://h/b"] * 9), "is up to 8 URLs"),
        ("ldap://u:hush@h/b", "`ldap_bind_password`"),
        ("ldap://h/b ldap://u:hush@h/b", "`ldap_bind_password`"),
        ("ldap://h:hush/b", "HOST:PORT"),
        ("ldap://h/b ldaps://h", "all ldap: or all ldaps:"),
        ("ldap://h/b?a b", "all ldap: or all ldaps:"),
        ("ldap://h/b?a%20b", "plain names"),
        ("ldap://h/b?a?subtree", "scope"),
        ("ldap://h/b?a?sub?hush=1", "in parentheses"),
        ("ldap://h/b?a?sub?(a=b)?!hush", "no extensions"),
    ],
)
def test_what_is_no_place_is_told_without_it(setting: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"an ldap:|`ldap_bind_password`") as raised:
        parse_ldap_place(setting)
    assert reason in str(raised.value)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("base", "query", "attribute"),
    [
        ("o=x", "(mail=$d)", "mail"),
        ("o=x", "(&(objectClass=a)(mail=$d))", "mail"),
        ("o=x", "(|(mail=$d)(alias=$d))", ""),
        ("o=x", "(mail=*@$d)", ""),
        ("o=x", "(&(mail=$d)(dn=$D))", ""),
        ("cn=$d", "(mail=$d)", ""),
        ("$D", "(a=b)", ""),
    ],
)
def test_names_are_asked_for_together_where_one_attribute_holds_them(base: str, query: str, attribute: str) -> None:
    place = LdapPlace((), tls=False, base=base, attributes=(), scope="sub", filter=query)
    assert place.name_attribute == attribute


def test_what_a_name_brings_in_is_no_placeholder() -> None:
    assert fill("$d,$D,$x", "$D", "$d") == "$D,$d,$x"
    assert components("joe@a.$d..org", str.upper) == "dc=JOE@A,dc=$D,dc=ORG"


def test_settings_take_tables_and_lists_that_can_be_read() -> None:
    place = "ldap://h/$D?a"
    assert SigningConfig(key_table=place, signing_table=_PLAIN, peer_list=_PLAIN).peer_list == _PLAIN
    with pytest.raises(ValueError, match="`peer_list`: a list in LDAP is read whole"):
        SigningConfig(peer_list=place)
    with pytest.raises(ValueError, match="`key_table`: the scope of an ldap:"):
        SigningConfig(key_table="ldap://h/b?a?c", signing_table=_PLAIN)


def test_a_bind_needs_both_and_the_password_elsewhere() -> None:
    with pytest.raises(ValueError, match="need each other"):
        SigningConfig(ldap_bind_user="cn=a")
    with pytest.raises(ValueError, match=r"file:PATH or env:NAME") as raised:
        SigningConfig(ldap_bind_user="cn=a", ldap_bind_password="hush")
    assert "hush" not in str(raised.value)
