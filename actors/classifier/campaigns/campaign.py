"""What is known of a campaign, and the fingerprint by which mail is compared with it; of the standard library alone."""

from typing import Final

import msgspec

BANDS: Final = 43
BAND_ROWS: Final = 3
"""Of two signatures whose similarity is 0.6 99.997 % have a band in common, of 0.5 99.7 %, 0.4 94 %, 0.1 4 %."""
ROWS: Final = BANDS * BAND_ROWS
ROW_BYTES: Final = 4
SIGNATURE_BYTES: Final = ROWS * ROW_BYTES
EXACT_BYTES: Final = 16
BAND_BYTES: Final = BAND_ROWS * ROW_BYTES
ID_CHARS: Final = 16


class Fingerprint(msgspec.Struct, frozen=True):
    """Either of the two, or none of them."""

    signature: bytes = b""
    """ROWS numbers (MinHash), little endian."""
    exact: bytes = b""
    """A digest."""

    def __bool__(self) -> bool:
        return bool(self.signature or self.exact)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Similar messages have some of these in common: the bands, or the digest. The first byte tells them apart."""
        if not self.signature:
            return (bytes((BANDS,)) + self.exact,) if self.exact else ()
        begins = range(0, SIGNATURE_BYTES, BAND_BYTES)
        return tuple(bytes((band,)) + self.signature[at : at + BAND_BYTES] for band, at in enumerate(begins))

    @property
    def sound(self) -> bool:
        """Whether the lengths are right, of one that was kept elsewhere."""
        return (len(self.signature), len(self.exact)) in ((SIGNATURE_BYTES, 0), (0, EXACT_BYTES))


class Campaign(msgspec.Struct, frozen=True):
    """What was reported as spam, once or more often."""

    id: str
    """ID_CHARS hexadecimal digits, made of the fingerprint."""
    fingerprint: Fingerprint
    """Of the message that was reported first."""
    reports: int
    """Different messages."""
    first_s: float
    """Unix time of the first report, and of the last."""
    last_s: float
