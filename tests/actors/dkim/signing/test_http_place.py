"""Where data sets at web servers lie."""

import pytest

from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.http_place import HttpPlace, parse_http_place


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("https://h/a%3Fb", HttpPlace("https://h/a%3Fb", tls=True, host="h", port=443, path="/a%3Fb")),
        ("http://[::1]:81", HttpPlace("http://[::1]:81/", tls=False, host="::1", port=81, path="/")),
    ],
)
def test_a_place_is_read(setting: str, place: HttpPlace) -> None:
    assert parse_http_place(setting) == place


@pytest.mark.parametrize(
    "setting",
    [
        "https:/hush",
        "https:hush",
        "https://:80/hush",
        "https://h:hush/",
        "https://u:hush@h/",
        "https://h/#hush",
        "https://h/a?token=hush",
        "https://h/hush?",
        "https://h/hush other",
        "https://h/hush\r\nX: y",
        "https://[hush/",
        "https://h/hüsh-hush",
    ],
)
def test_what_is_no_place_is_told_without_it(setting: str) -> None:
    with pytest.raises(ValueError, match=r"`peer_list`: a http: ") as raised:
        SigningConfig(peer_list=setting)
    assert "hush" not in str(raised.value)
