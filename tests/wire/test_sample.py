import os

from wire.sample import sampled


def test_the_sample_has_its_share_and_is_the_same_everywhere() -> None:
    ids = [os.urandom(16) for _ in range(20_000)]
    chosen = [one for one in ids if sampled(one, 0.1)]
    assert 0.09 < len(chosen) / len(ids) < 0.11
    assert chosen == [one for one in ids if sampled(one, 0.1)]
    assert {one for one in ids if sampled(one, 0.05)} < set(chosen), "a larger share has the smaller one in it"
    assert all(sampled(one, 1.0) for one in ids)
    assert not any(sampled(one, 0.0) for one in ids)
    assert not sampled(b"", 1.0), "a probe has no id"
