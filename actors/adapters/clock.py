"""The clock of production. `tamis scan --now` needs no other: it sets the message's time of receipt."""

import time


class SystemClock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return time.time()
