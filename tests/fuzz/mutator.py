"""Changes of an input that keep its frames whole, so that what a frame holds is reached and not only its length."""

from collections.abc import Callable
from random import Random

from tests.fuzz.properties import CHOICES
from tests.wire.milter.commands import split
from wire.milter.frames import encode_frame

RAW_SHARE = 0.25
"""So often the bytes are changed without regard to frames."""


def mutate(data: bytes, size_max: int, seed: int, change: Callable[[bytes, int], bytes]) -> bytes:
    """Another input, of at most `size_max` bytes; `change` gives other bytes of at most so many."""
    random = Random(seed)
    frames, rest = split(data[CHOICES:])
    if not frames or random.random() < RAW_SHARE:
        return bytes(change(data, size_max))
    number = random.randrange(len(frames))
    command, payload = frames[number]
    kind = random.randrange(6)
    if kind <= 1:
        frames[number] = command, bytes(change(payload, len(payload) + 16))
    elif kind == 2:
        frames[number] = command, payload[: random.randint(0, min(len(payload), 4))]
    elif kind == 3:
        frames[number] = random.choice(frames)[0], payload
    elif kind == 4:
        frames.insert(random.randrange(len(frames) + 1), (command, payload))
    else:
        del frames[number]
    return (data[:CHOICES] + b"".join(encode_frame(*frame) for frame in frames) + rest)[:size_max]
