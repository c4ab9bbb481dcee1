"""One change of the weights as it travels: the slots of a message with their rates, and the step of each layer.

Strategy: a delta is accepted by its number and by the chain, the hash of all deltas up to it. So a replica notices at
the next delta that its Redis has forgotten some (a failover, a restored backup) and reads everything anew.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from actors.classifier.learning.layers import SLOT_BITS_MAX, STEP_MAX, Rates, Slots, is_layer_name

SLOTS_MAX: Final = 1 << 17
"""Of one message; above what features look at."""
PARTS_MAX: Final = 4
DROPPED_MAX: Final = 1000
DELTA_BYTES_MAX: Final = 5 * SLOTS_MAX + 256 * (PARTS_MAX + DROPPED_MAX)
_CHANGE_MAX: Final = 2 * STEP_MAX
"""A step that is taken back, and one the other way."""
_CHAIN_BYTES: Final = 16


class DeltaError(Exception):
    """Bytes that are no delta of this release."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far weights are: the number of the last delta, and the chain of all up to it."""

    number: int = 0
    chain: str = ""
    """Hexadecimal; empty before the first."""

    def after(self, payload: bytes) -> "Position":
        """Where the next delta leads."""
        return Position(self.number + 1, _digest(bytes.fromhex(self.chain) + payload))

    def to_text(self) -> str:
        """For the journal."""
        return f"{self.number} {self.chain}"

    @classmethod
    def from_text(cls, text: str) -> "Position":
        """Raises ValueError."""
        number, _, chain = text.partition(" ")
        if not (number.isascii() and number.isdecimal()) or len(number) > 15:
            raise ValueError("no position")
        if len(bytes.fromhex(chain)) not in (0, _CHAIN_BYTES):
            raise ValueError("no position")
        return cls(int(number), chain)


BEGINNING: Final = Position()


class Part(msgspec.Struct, frozen=True, array_like=True):
    """What happens to one layer."""

    layer: str
    step: int
    """Units on a slot of the highest rate."""


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one lesson changes."""

    slots: bytes
    """uint32, little endian, ascending."""
    rates: bytes
    """uint8 for each of them."""
    parts: tuple[Part, ...] = ()
    dropped: tuple[str, ...] = ()
    """Layers that end before the parts are applied."""


def encode_delta(slots: Slots, rates: Rates, parts: tuple[Part, ...], dropped: tuple[str, ...] = ()) -> bytes:
    """A delta as bytes."""
    return msgspec.msgpack.encode(Delta(slots.astype("<u4").tobytes(), rates.tobytes(), parts, dropped))


def decode_delta(data: bytes) -> tuple[Delta, Slots, Rates]:
    """A delta that can be applied, with its slots and rates. Raises DeltaError for anything else."""
    if len(data) > DELTA_BYTES_MAX:
        raise DeltaError("too long")
    try:
        delta = msgspec.msgpack.decode(data, type=Delta)
    except msgspec.DecodeError as error:
        raise DeltaError("not a delta") from error
    if len(delta.slots) != 4 * len(delta.rates) or len(delta.rates) > SLOTS_MAX:
        raise DeltaError("not a rate for each slot, or too many")
    if len(delta.parts) > PARTS_MAX or len(delta.dropped) > DROPPED_MAX:
        raise DeltaError("too many layers")
    names = [*delta.dropped, *(part.layer for part in delta.parts)]
    if not all(map(is_layer_name, names)) or any(abs(part.step) > _CHANGE_MAX for part in delta.parts):
        raise DeltaError("unfit layers or steps")
    slots = np.frombuffer(delta.slots, "<u4").astype(np.uint32)
    if len(slots) and (slots[-1] >> SLOT_BITS_MAX or (slots[1:] <= slots[:-1]).any()):
        raise DeltaError("slots not ascending, or out of range")
    return delta, slots, np.frombuffer(delta.rates, np.uint8)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_CHAIN_BYTES).hexdigest()
