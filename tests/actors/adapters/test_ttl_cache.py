"""The cache: what it keeps, how long, and how much."""

from actors.adapters.ttl_cache import TtlCache


def test_a_value_is_kept_for_its_time_and_not_longer() -> None:
    cache: TtlCache[str, int] = TtlCache(10, 1000)
    cache.put("a", 1, now_s=100.0, ttl_s=5.0, size_bytes=1)

    assert cache.get("a", 104.9) == 1
    assert cache.get("a", 105.0) is None
    assert len(cache) == 0


def test_a_ttl_of_zero_is_not_kept() -> None:
    cache: TtlCache[str, int] = TtlCache(10, 1000)
    cache.put("a", 1, now_s=100.0, ttl_s=0.0, size_bytes=1)

    assert cache.get("a", 100.0) is None


def test_the_least_recently_used_makes_room() -> None:
    cache: TtlCache[str, int] = TtlCache(2, 1000)
    cache.put("hot", 1, now_s=0.0, ttl_s=60.0, size_bytes=1)
    for number in range(100):
        cache.put(f"flood-{number}", number, now_s=0.0, ttl_s=60.0, size_bytes=1)
        assert cache.get("hot", 1.0) == 1

    assert len(cache) == 2
    assert cache.get("flood-99", 1.0) == 99
    assert cache.get("flood-98", 1.0) is None


def test_a_new_value_replaces_the_old_and_its_time() -> None:
    cache: TtlCache[str, int] = TtlCache(2, 1000)
    cache.put("a", 1, now_s=0.0, ttl_s=5.0, size_bytes=1)
    cache.put("a", 2, now_s=4.0, ttl_s=5.0, size_bytes=1)

    assert cache.get("a", 8.0) == 2


def test_without_room_nothing_is_kept() -> None:
    cache: TtlCache[str, int] = TtlCache(0, 1000)
    cache.put("a", 1, now_s=0.0, ttl_s=5.0, size_bytes=1)

    assert len(cache) == 0


def test_the_least_recently_used_makes_room_for_bytes() -> None:
    cache: TtlCache[str, int] = TtlCache(100, 1000)
    for number in range(10):
        cache.put(f"small-{number}", number, now_s=0.0, ttl_s=60.0, size_bytes=100)
    assert cache.get("small-0", 1.0) == 0

    cache.put("big", 1, now_s=1.0, ttl_s=60.0, size_bytes=150)
    assert [number for number in range(10) if cache.get(f"small-{number}", 2.0) is None] == [1, 2]
    assert cache.get("big", 2.0) == 1


def test_bytes_are_given_back_by_what_expires_or_is_replaced() -> None:
    cache: TtlCache[str, int] = TtlCache(100, 1000)
    for number in range(50):
        cache.put("same", number, now_s=0.0, ttl_s=1.0, size_bytes=400)
    cache.get("same", 2.0)
    cache.put("a", 1, now_s=2.0, ttl_s=9.0, size_bytes=500)
    cache.put("b", 2, now_s=2.0, ttl_s=9.0, size_bytes=500)
    assert (cache.get("a", 3.0), cache.get("b", 3.0)) == (1, 2)


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache: TtlCache[str, int] = TtlCache(100, 1000)
    cache.put("a", 1, now_s=0.0, ttl_s=9.0, size_bytes=1001)
    assert len(cache) == 0


def test_what_has_expired_leaves_when_others_come_and_not_when_it_is_asked_for_only() -> None:
    cache: TtlCache[int, int] = TtlCache(100, 1000)
    for key in range(50):
        cache.put(key, key, 0.0, 10.0, size_bytes=1)
    cache.put(50, 50, 10.0, 10.0, size_bytes=1)
    assert len(cache) == 1
