"""How common a slot is in the mail that this process reads, so that lessons move what is rare. Pure.

People report spam and seldom ham. Were all slots moved alike, what every message has would be taken for spam: with
1,500 phish of which all are taught, and nothing of 1,500 mails of a list among them, 9.9 % of the list became spam;
moved by 1 / (1 + 100 * share of the mail that has the slot) 1.2 %.
"""

from typing import Final

import numpy as np

from actors.classifier.learning.layers import RATE_MAX, SLOT_BITS_MAX, Rates, Slots

_STEEPNESS: Final = 100.0
_MESSAGES_LEAST: Final = 20
"""Fewer say little: a slot of the only message is not in all mail."""
_MESSAGES_MAX: Final = 50_000
"""Then all counts are halved: what was long ago fades."""


class Commonness:
    """Counts of messages by slot."""

    def __init__(self) -> None:
        self._messages = 0
        self._with_slot = np.zeros(1 << SLOT_BITS_MAX, np.uint16)

    def note(self, slots: Slots) -> None:
        """A message with these slots was read."""
        self._with_slot[slots] += np.uint16(1)
        self._messages += 1
        if self._messages >= _MESSAGES_MAX:
            self._with_slot >>= np.uint16(1)
            self._messages //= 2

    def rates(self, slots: Slots) -> Rates:
        """How strongly each slot is moved, 1 to RATE_MAX, which the rarest has."""
        share = self._with_slot[slots] / max(self._messages, _MESSAGES_LEAST)
        rarity = 1 / (1 + _STEEPNESS * share)
        rates: Rates = np.maximum(np.rint(RATE_MAX * rarity / rarity.max(initial=1e-9)), 1).astype(np.uint8)
        return rates
