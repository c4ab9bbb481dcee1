"""wire/config.py: every mistake in the file is one line that names its line."""

import pytest

from wire.config import ConfigError, Section, dump, parse


class Inner(Section, frozen=True):
    """A table in a table."""

    depth: int = 1


class Dns(Section, frozen=True):
    """A table."""

    nameservers: tuple[str, ...] = ()
    timeout_s: float = 2.0
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise ValueError("`timeout_s` must be positive")


class Redis(Section, frozen=True):
    """A table with a secret."""

    url: str = ""


class Root(Section, frozen=True):
    """A file."""

    dns: Dns = Dns()
    redis: Redis = Redis()


def test_an_empty_file_gives_the_defaults() -> None:
    assert parse("", Root) == Root()


def test_values_arrive_typed() -> None:
    root = parse('[dns]\nnameservers = ["127.0.0.1:53"]\ntimeout_s = 1\n[dns.inner]\ndepth = 3\n', Root)
    assert root.dns == Dns(nameservers=("127.0.0.1:53",), timeout_s=1.0, inner=Inner(depth=3))


def test_one_string_will_do_where_a_list_is_wanted() -> None:
    assert parse('[dns]\nnameservers = "127.0.0.1:53"\n', Root).dns.nameservers == ("127.0.0.1:53",)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n[dns]\n\ntimout_s = 1\n", 4, "unknown key `timout_s`"),
        ('[dns]\nnameservers = []\ntimeout_s = "2"\n', 3, "Expected `float`, got `str`"),
        ('[redis]\nurl = "x"\n[dns]\nnameservers = ["a", 7]\n', 4, "Expected `str`, got `int`"),
        ("[dns]\n# why\ntimeout_s = -1\n", 1, "`timeout_s` must be positive"),
        ("[dns.inner]\ndepth = 1.5\n", 2, "Expected `int`"),
        ("dns = 3\n", 1, "Expected `object`"),
        ("[redis]\n[dsn]\n", 2, "unknown section [dsn]"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, Root, name="tamis.toml")
    message = str(error.value)
    assert message.startswith(f"tamis.toml:{line}: ")
    assert words in message
    assert "\n" not in message


def test_broken_toml_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^config: not valid TOML: .*line 2"):
        parse("[dns]\nx=\n", Root)


def test_passwords_are_masked_in_a_dump() -> None:
    dumped = dump(Root(redis=Redis(url="redis://user:hunter2@10.0.0.1:6379/0")))
    assert dumped["redis"]["url"] == "redis://user:***@10.0.0.1:6379/0"
