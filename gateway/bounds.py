"""What one gateway may hold and serve at the same time. Pure.

Sessions have three bounds: from `stress` on the cluster may skip what is optional, from `sessions_max` on new sessions
are shed, and a quarter above that no further ones are served at all.
"""

from enum import Enum

CALM_SHARE = 2 / 3
"""Stress ends below this share of where it began, so that it does not come and go with every session."""


class Admission(Enum):
    """What becomes of a new session."""

    SERVED = "served"
    SHED = "shed"
    """It keeps no content, and everything it asks fails as overloaded at once."""
    CLOSED = "closed"


class SessionBounds:
    """How many sessions; the counting is the server's."""

    def __init__(self, sessions_max: int, stress_share: float, files_max: float) -> None:
        """`files_max`: for how many sessions there are file descriptors."""
        self.served_max = sessions_max + max(1, sessions_max // 4)
        """From so many on no further ones are served."""
        if self.served_max > files_max:
            self.served_max = max(1, int(files_max))
            sessions_max = max(1, min(sessions_max, self.served_max * 4 // 5))
        self.sessions_max = sessions_max
        self._stress_from = sessions_max * stress_share
        self.stressed = False

    def admit(self, open_sessions: int) -> Admission:
        """What becomes of one more."""
        if open_sessions >= self.served_max:
            return Admission.CLOSED
        return Admission.SHED if open_sessions >= self.sessions_max else Admission.SERVED

    def count(self, open_sessions: int) -> bool:
        """So many are open now; True when `stressed` has changed."""
        before = self.stressed
        self.stressed = open_sessions >= self._stress_from * (CALM_SHARE if before else 1)
        return self.stressed != before


class HeldBytes:
    """How much mail all sessions together keep for replay in memory, under one bound."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.total = 0

    @property
    def tight(self) -> bool:
        """More than half is used: large bodies go to disk."""
        return self.total > self.bytes_max // 2

    def take(self, size_bytes: int) -> bool:
        """Count bytes that are to be kept; False when they may not be."""
        if self.total + size_bytes > self.bytes_max:
            return False
        self.total += size_bytes
        return True

    def resume(self, size_bytes: int) -> None:
        """Count bytes that another process kept under its bound."""
        self.total += size_bytes

    def release(self, size_bytes: int) -> None:
        """The bytes are no longer kept."""
        self.total -= size_bytes
