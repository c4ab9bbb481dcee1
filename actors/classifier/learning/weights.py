"""All layers of one process, and how they follow the deltas. Pure.

Strategy: deltas are applied in order of their numbers and only when the chain fits. A layer from a snapshot says up to
which delta it has learnt; older ones pass it by. Which layers end when there is no room is the trainer's decision and
part of a delta, so that all replicas have the same ones.
"""

from collections.abc import Iterator

from actors.classifier.learning.delta import BEGINNING, DeltaError, Position, decode_delta
from actors.classifier.learning.layers import SHARED, Layer, Slots, size_of

LOG_ODDS_MAX = 20.0
"""What one layer can do to a message, however it was taught."""


class OutOfStep(Exception):
    """A delta does not follow what was applied before: everything is to be read anew."""


class Weights:
    """The layers as they are after the delta at `position`."""

    def __init__(self, bytes_max: int, position: Position = BEGINNING) -> None:
        """`bytes_max`: what a journal that is out of its mind can make it take; no more layers then."""
        self.position = position
        self.layers: dict[str, Layer] = {}
        self.size_bytes = 0
        """What all layers take."""
        self.unread = 0
        """Deltas of another release, or damaged ones, that every replica of this release has passed over."""
        self._bytes_max = bytes_max

    def put(self, name: str, layer: Layer) -> None:
        """A layer from its snapshot, if there is room."""
        if self.size_bytes + layer.size_bytes <= self._bytes_max:
            self.layers[name] = layer
            self.size_bytes += layer.size_bytes

    def apply(self, number: int, chain: str, payload: bytes) -> None:
        """Take the next delta. Raises OutOfStep when it is not the next one, or follows others than were applied."""
        position = self.position.after(payload)
        if position != Position(number, chain):
            raise OutOfStep(f"delta {number} after {self.position.number}")
        self.position = position
        try:
            delta, slots, rates = decode_delta(payload)
        except DeltaError:
            self.unread += 1
            return
        for name in delta.dropped:
            if name in self.layers and self.layers[name].taught < number:
                self.size_bytes -= self.layers.pop(name).size_bytes
        for part in delta.parts:
            if part.layer not in self.layers:
                self.put(part.layer, Layer.empty(part.layer))
            layer = self.layers.get(part.layer)
            if layer is not None and layer.taught < number:
                layer.add(slots, rates, part.step, number)

    def log_odds(self, name: str, slots: Slots) -> float:
        """What a layer adds, at most LOG_ODDS_MAX either way; 0.0 when there is none of this name."""
        layer = self.layers.get(name)
        return max(-LOG_ODDS_MAX, min(LOG_ODDS_MAX, layer.log_odds(slots))) if layer is not None else 0.0

    def to_drop(self, coming: tuple[str, ...], bytes_max: int) -> Iterator[str]:
        """The layers that have to go before those of these names fit, those that were taught longest ago first.

        The shared one stays.
        """
        excess = self.size_bytes + sum(size_of(name) for name in coming if name not in self.layers) - bytes_max
        if excess <= 0:
            return
        for name in sorted(self.layers, key=lambda name: self.layers[name].taught):
            if name != SHARED and name not in coming:
                yield name
                excess -= self.layers[name].size_bytes
                if excess <= 0:
                    return
