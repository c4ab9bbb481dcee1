"""What one gateway may hold and serve at the same time. Pure."""


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
