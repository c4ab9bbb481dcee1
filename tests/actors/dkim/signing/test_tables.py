"""KeyTable and SigningTable as opendkim.conf(5) has them; tests/live/test_opendkim.py asks opendkim itself."""

import random
import re

import pytest

from actors.dkim.signing.tables import (
    SUPERDOMAIN_LABELS_MAX,
    Address,
    Entry,
    NamedTable,
    PatternTable,
    SigningTables,
    TableError,
    matches,
    parse_entries,
    parse_key_entry,
    parse_list,
)
from tests.signing import rsa_pem

JOE = Address("joe", "foo.example.com")
KEYS = (
    "\n".join(f"k{n} d{n}.example:s{n}:/keys/{n}" for n in range(9)) + "\n% %:own:/keys/%/own\nfoo.example.com %:f:/f"
)


def tables(signing: str, *, patterns: bool = False, multiple: bool = True, keys: str = KEYS) -> SigningTables:
    entries = parse_entries(signing, "signing")
    table = PatternTable(entries) if patterns else NamedTable(entries)
    return SigningTables(table, NamedTable(parse_entries(keys, "keys")), multiple)


async def names(signing: str, author: Address = JOE, **options: bool) -> list[str]:
    return [request.name for request in await tables(signing, **options).requests(author)]


EVERY = (
    "* k0\njoe@* k1\n.com k2\njoe@.com k3\n.example.com k4\njoe@.example.com k5\n"
    "foo.example.com k6\njoe@foo.example.com k7"
)


async def test_names_are_looked_up_from_the_address_to_the_star() -> None:
    assert await names(EVERY) == ["k7", "k6", "k5", "k4", "k3", "k2", "k1", "k0"]
    assert await names(EVERY, multiple=False) == ["k7"]
    assert await names(EVERY, Address("ann", "example.org")) == ["k0"]


async def test_names_are_found_in_any_case() -> None:
    assert await names("Foo.EXAMPLE.com K6", Address("joe", "foo.example.com")) == ["K6"]


async def test_patterns_are_tried_in_the_order_of_the_file() -> None:
    signing = (
        "*@foo.* k1\n*@foo.example.com k2\njoe@*example* k3\nann@* k4\n*@example.com k5\nJOE@foo.example.com k6\n* k7"
    )
    assert await names(signing, patterns=True) == ["k1", "k2", "k3", "k6", "k7"]
    assert await names(signing, patterns=True, multiple=False) == ["k1"]


async def test_percent_is_the_authors_domain() -> None:
    (one,) = await tables("* %:@%", patterns=True).requests(JOE)
    assert (one.name, one.domain, one.selector, one.key, one.identity) == (
        "foo.example.com",
        "foo.example.com",
        "f",
        "/f",
        "@foo.example.com",
    )
    assert parse_key_entry(Entry("k", "%:own:/keys/%/own"), "a.example").key == "/keys/a.example/own"
    assert parse_key_entry(Entry("k", "a.example:own:MII%"), "b.example").key == "MII%"


async def test_an_identity_stands_after_the_keys_name() -> None:
    (one,) = await tables("joe@foo.example.com k1:joe@sub.%").requests(JOE)
    assert (one.name, one.identity, one.matched) == ("k1", "joe@sub.foo.example.com", "joe@foo.example.com")


@pytest.mark.parametrize(
    ("signing", "keys", "reason"),
    [
        ("* lost", KEYS, "the key lost is wanted, which the KeyTable lacks"),
        ("*", KEYS, "names no key"),
        ("* k", "k example.org:s", "not DOMAIN:SELECTOR:KEY"),
        ("* k", "k :s:/key", "not DOMAIN:SELECTOR:KEY"),
        ("* k", "k localhost:s:/key", "has no domain"),
        ("* k", "k example.org:a b:/key", "has no selector"),
        ("* k", "k example.org:a..b:/key", "has no selector"),
    ],
)
async def test_a_table_that_says_what_cannot_be_is_an_error(signing: str, keys: str, reason: str) -> None:
    with pytest.raises(TableError, match=reason):
        await tables(signing, keys=keys).requests(JOE)


async def test_a_key_is_never_shown() -> None:
    (one,) = await tables("* k", keys="k example.org:s:MIIsecret").requests(JOE)
    assert one.key == "MIIsecret"
    assert "secret" not in repr(one)
    with pytest.raises(TableError) as raised:
        await tables("* k", keys="k example.org::MIIsecret").requests(JOE)
    assert "secret" not in str(raised.value)


async def test_what_stands_in_a_file_is_told_by_its_line() -> None:
    """A key with its line breaks in a KeyTable: each of its lines is an entry."""
    lines = rsa_pem().decode()
    wrong = []
    for entry in parse_entries(f"# keys\nk example.org:s:{lines}", "keys")[1:]:
        with pytest.raises(TableError) as raised:
            parse_key_entry(entry)
        wrong.append(str(raised.value))
    assert wrong[0] == "the KeyTable's entry in line 3 is not DOMAIN:SELECTOR:KEY"
    assert not any(line in told for line in lines.split() for told in wrong)
    with pytest.raises(TableError, match=r"names no key for the entry in line 2$"):
        await tables("\n*", keys="").requests(JOE)


def test_a_file_has_comments_and_empty_lines() -> None:
    text = "# head\n\n  name\t value with blanks # tail\nlone\r\n"
    assert parse_entries(text, "t") == [Entry("name", "value with blanks"), Entry("lone", "")]
    with pytest.raises(TableError, match="t:2: not text"):
        parse_entries("a b\n\0\1 c\n", "t")


def test_a_list_has_names_with_and_without_values() -> None:
    assert parse_list("a, b = c:d ,,e=f=g") == [Entry("a", ""), Entry("b", "c:d"), Entry("e", "f=g")]


def test_matching_is_that_of_a_regular_expression() -> None:
    chance = random.Random(7)
    for _ in range(20_000):
        pattern = "".join(chance.choices("ab*", k=chance.randint(0, 6)))
        text = "".join(chance.choices("ab", k=chance.randint(0, 7)))
        expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
        assert matches(pattern, text) == expected, (pattern, text)


async def test_finding_patterns_by_their_ends_gives_what_trying_all_gives() -> None:
    chance = random.Random(11)
    whole = ["*", "a*", "*@a.example", "a@a.example", "a@*", "*@*.example", "*@b@a.example", "A*A", "a**"]
    parts = ["".join(chance.choices("ab@*", k=chance.randint(0, 5))) for _ in range(40)]
    entries = [Entry(chance.choice(whole + parts), str(number)) for number in range(400)]
    table = PatternTable(entries)
    texts = ["a@a.example", "ab@b.example", "b@a@a.example", "A@a.Example", ""]
    texts += ["".join(chance.choices("ab@", k=chance.randint(0, 6))) for _ in range(300)]
    for text in texts:
        expected = [entry for entry in entries if matches(entry.name.lower(), text.lower())]
        assert list(await table.find([text, "b"])) == expected, text


async def test_an_address_of_absurd_length_is_in_no_table() -> None:
    assert await names("* k1", Address("a" * 400, "example.org")) == []


def test_of_a_domain_with_many_labels_the_names_above_it_are_few() -> None:
    names = Address("joe", ".".join(["a"] * 100 + ["example"])).table_names()
    assert len(names) == 2 + 2 * SUPERDOMAIN_LABELS_MAX + 2
    assert names[0] == "joe@" + "a." * 100 + "example"
    assert names[-4:] == ["joe@.example", ".example", "joe@*", "*"]
