import logging
from pathlib import Path

import pytest

from cluster.admin.access import Attempts, Keyring, Principal, Role, TokensError, is_token, parse_tokens, token_sum

TOKEN = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


def test_a_line_is_a_name_a_role_and_a_sum() -> None:
    text = f"# console\n\nweb viewer {token_sum(TOKEN)}\n  ops@north   operator {token_sum(OTHER)}\n"
    assert parse_tokens(text) == (
        Principal("web", Role.VIEWER, token_sum(TOKEN)),
        Principal("ops@north", Role.OPERATOR, token_sum(OTHER)),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it names nobody"),
        ("# nobody\n", "it names nobody"),
        (f"ops operator {token_sum(TOKEN)}\nweb viewer\n", "line 2: not NAME ROLE SHA256"),
        (f"ops root {token_sum(TOKEN)}\n", "line 1: the role is neither viewer, teacher nor operator"),
        (f"o/ps operator {token_sum(TOKEN)}\n", "line 1: the name is not"),
        (f"ops operator {TOKEN[:-1]}\n", "line 1: the sum is not 64"),
        (f"ops operator {TOKEN.upper()}\n", "line 1: the sum is not 64"),
        ("\n".join(f"n{number} viewer {TOKEN}" for number in range(1001)), "more than 1000"),
        ("#" * (1 << 20) + "#", "above 1 MiB"),
    ],
)
def test_a_file_with_a_mistake_is_refused_whole_and_nothing_of_it_is_told(text: str, complaint: str) -> None:
    with pytest.raises(TokensError) as caught:
        parse_tokens(text)
    assert complaint in str(caught.value)
    assert TOKEN[:10] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "x" * 31, "x" * 513, "x" * 40 + "\n", "x" * 40 + " ", "ü" * 40])
def test_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    assert not is_token(text)
    assert is_token(TOKEN)


def write(path: Path, text: str) -> None:
    """As an editor does: a new file in the place of the old one."""
    partial = path.with_name("partial")
    partial.write_text(text)
    partial.replace(path)


def test_the_keyring_follows_the_file_and_lets_nobody_in_while_it_is_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "tokens"
    keyring = Keyring(path)
    assert keyring.whose(TOKEN) is None
    write(path, f"ops operator {token_sum(TOKEN)}\n")
    assert keyring.whose(TOKEN) == Principal("ops", Role.OPERATOR, token_sum(TOKEN))
    assert keyring.whose(OTHER) is None
    write(path, f"ops operator {token_sum(TOKEN)}\nweb oops")
    assert keyring.whose(TOKEN) is None
    assert keyring.whose(TOKEN) is None
    write(path, f"ops operator {token_sum(OTHER)}\n")
    assert keyring.whose(TOKEN) is None
    assert keyring.whose(OTHER) is not None
    path.unlink()
    assert keyring.whose(OTHER) is None
    events = [record.getMessage().split()[0] for record in caplog.records]
    assert events == [
        "admin_tokens_refused",
        "admin_tokens_taken",
        "admin_tokens_refused",
        "admin_tokens_taken",
        "admin_tokens_refused",
    ], "once a change"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0" * 100])
def test_a_file_of_other_bytes_lets_nobody_in(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    assert Keyring(path).whose(TOKEN) is None
    assert Keyring(tmp_path).whose(TOKEN) is None, "a directory"


def test_five_wrong_tokens_then_one_in_ten_seconds_for_each_address() -> None:
    now_s = 0.0
    attempts = Attempts(lambda: now_s)
    assert [attempts.failed("ipv4:10.0.0.9") for _ in range(7)] == [True] * 5 + [False] * 2
    assert attempts.failed("ipv4:10.0.0.10")
    now_s = 11.0
    assert [attempts.failed("ipv4:10.0.0.9") for _ in range(2)] == [True, False]
    now_s = 1000.0
    assert [attempts.failed("ipv4:10.0.0.9") for _ in range(6)] == [True] * 5 + [False]


def test_the_addresses_remembered_are_bounded() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(20_000):
        attempts.failed(f"ipv4:{number}")
    assert len(attempts._left) == 10_000
