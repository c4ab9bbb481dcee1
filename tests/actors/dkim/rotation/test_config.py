"""[dkim.rotation] and the names of new keys."""

import pytest

from actors.config import JudgementConfig
from actors.dkim.rotation.config import RotationConfig
from actors.dkim.rotation.selectors import candidates
from wire.config import ConfigError, dump, parse

OCTOBER_S = 1_792_000_000.0


@pytest.mark.parametrize(
    "text",
    [
        'publish = "bind"',
        'publish = "zone-file"',
        'publish = "command"',
        'publish = "nsupdate"',
        'publish = "nsupdate"\ntsig_file = "a"\ntsig_environment = "B"',
        'publish = "command"\ncommand = ["rndc"]',
        'selectors = ["{week}"]',
        'selectors = ["{year.__class__}"]',
        'selectors = ["a b"]',
        'selectors = ["A"]',
        "selectors = []",
        "interval_days = -1",
        "grace_days = 4000",
        "ttl_s = 700000",
        'key_type = "dsa"',
        "rsa_bits = 1024",
        'key_directory = "keys"',
        'key_directory = "/keys/%"',
        'retire = "forget"',
        'tsig_algorithm = "hmac-md5"',
        "command_timeout_s = 0",
        "begin_max = 0",
    ],
)
def test_what_cannot_be_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^config:\d+: "):
        parse(f"[dkim.rotation]\n{text}\n", JudgementConfig)


def test_a_dump_holds_no_secret_since_the_file_has_none() -> None:
    config = RotationConfig(publish="nsupdate", tsig_file="/etc/tamis/tsig.key", tsig_name="k")
    assert not any("secret" in key for key in dump(config))


def test_dated_names_have_a_letter_and_the_time_is_utc() -> None:
    names = list(candidates(("{year}{month}{letter}",), "rsa", OCTOBER_S))
    assert names[:2] == ["202610a", "202610b"]
    assert len(names) == 26
    assert list(candidates(("{type}-{day}", "b"), "ed25519", OCTOBER_S)) == ["ed25519-14", "b"]
