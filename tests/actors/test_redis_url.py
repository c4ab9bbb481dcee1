import pytest

from actors.redis_url import RedisPlace, parse_redis_url


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://10.1.0.9", RedisPlace("one", (("10.1.0.9", 6379),))),
        (
            "rediss://a:p%40ss@redis.example:7000/3",
            RedisPlace("one", (("redis.example", 7000),), "a", "p@ss", True, "", 3),
        ),
        ("unix:///run/valkey.sock", RedisPlace("one", ())),
        ("unix:///run/valkey.sock?db=1", RedisPlace("one", ())),
        (
            "redis+sentinel://:hush@s1,s2:26380,[2001:db8::3]/mail/2",
            RedisPlace(
                "sentinel", (("s1", 26379), ("s2", 26380), ("2001:db8::3", 26379)), "", "hush", False, "mail", 2
            ),
        ),
        ("rediss+cluster://c1,c2:7001", RedisPlace("cluster", (("c1", 6379), ("c2", 7001)), tls=True)),
    ],
)
def test_each_form_is_taken_apart(url: str, place: RedisPlace) -> None:
    assert parse_redis_url(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "http://:hush@h",
        "redis+proxy://:hush@h",
        "redis+sentinel://:hush@h",
        "redis+sentinel://:hush@h/mail/x",
        "redis+cluster://:hush@h/1",
        "redis://:hush@a,b",
        "redis://:hush@h:x",
        "redis://:hush@h:99999",
        "redis://:hush@h/zero",
        "redis+cluster://:hush@a,,b",
        "unix:",
    ],
)
def test_what_is_none_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  any text but the URL's
        parse_redis_url(url)
    assert "hush" not in str(caught.value)
