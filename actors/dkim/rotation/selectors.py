"""Names of new keys: patterns that the date and a letter fill, or fixed names that take turns."""

import re
import string
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

_PLACEHOLDERS = ("{year}", "{month}", "{day}", "{letter}", "{type}")
_SELECTOR = re.compile(r"[0-9a-z_-]{1,63}(?:\.[0-9a-z_-]{1,63})*")


def candidates(patterns: Sequence[str], key_type: str, now_s: float) -> Iterator[str]:
    """Selectors in the order in which they are tried; `key_type` is rsa or ed25519.

    A pattern with {letter} gives 26 names, any other one.
    """
    date = datetime.fromtimestamp(now_s, UTC)
    for pattern in patterns:
        for letter in string.ascii_lowercase if "{letter}" in pattern else ("",):
            yield _filled(pattern, f"{date:%Y}", f"{date:%m}", f"{date:%d}", letter, key_type)


def check_pattern(pattern: str) -> None:
    """Raises ValueError for a pattern of which no selector can be made."""
    if not _SELECTOR.fullmatch(_filled(pattern, "2026", "01", "01", "a", "ed25519")):
        known = ", ".join(_PLACEHOLDERS)
        raise ValueError(f"`selectors`: {pattern}: a selector is small letters, digits, - and {known}")


def _filled(pattern: str, *values: str) -> str:
    for placeholder, value in zip(_PLACEHOLDERS, values, strict=True):
        pattern = pattern.replace(placeholder, value)
    return pattern
