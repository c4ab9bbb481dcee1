"""The two clocks of production: the machine's, and one that stands still for `tamis scan --now`."""

import time
from dataclasses import dataclass


class SystemClock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return time.time()


@dataclass(frozen=True, slots=True)
class FixedClock:
    """Unix time stands still at `fixed_unix_s`; monotonic time goes on, since budgets are spent all the same."""

    fixed_unix_s: float

    def monotonic_s(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def unix_s(self) -> float:
        """The fixed time."""
        return self.fixed_unix_s
