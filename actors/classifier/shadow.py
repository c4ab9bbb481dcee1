"""A second model that scores a share of the mail beside the first, and says nothing: what it would say is counted.

Whether a message is in the share hangs on its transaction id alone, so a replay is in it again.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from actors.classifier import model
from actors.classifier.comparison import Comparison
from actors.classifier.model import SpamModel
from actors.ports import Clock
from wire.sample import sampled

_log = logging.getLogger(__name__)


class Shadow:
    """The second model, and how it compares with the first."""

    def __init__(self, path: Path, share: float, live_version: str, clock: Clock) -> None:
        """Load the model. Raises ModelError."""
        self._model, self._card = model.load(path)
        self._share = share
        self._versions = live_version, model.version_of(self._card)
        self._clock = clock
        self._seen = Comparison()
        _log.info("shadow_loaded version=%s share=%g path=%s", self._versions[1], share, path)

    def compare(
        self, transaction_id: bytes, probability: float, probability_by: Callable[[SpamModel], float], *, spam: bool
    ) -> None:
        """Have the second model score a message too, if it is in the share; raises nothing.

        `probability` and `spam` are what the first model says, `probability_by` asks another model on the same way.
        """
        if not sampled(transaction_id, self._share):
            return
        started_s = self._clock.monotonic_s()
        try:
            shadow = probability_by(self._model)
        except Exception as error:  # noqa: BLE001  whatever it is, it is not to touch the verdict
            self._seen.failed += 1
            _log.warning("shadow_failed error=%s", type(error).__name__)
            return
        us = (self._clock.monotonic_s() - started_s) * 1e6
        self._seen.add(live=spam, shadow=shadow >= self._card.threshold, shift=shadow - probability, us=us)

    def counters(self) -> Mapping[str, int]:
        """As `comparisons` reads them."""
        return self._seen.counters(*self._versions)
