"""Reads opendkim.conf(5): lines of keyword and value, with included files, the last of two settings counting."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

INCLUDES_MAX = 5
"""Levels of included files, as in OpenDKIM."""
_FILES_MAX = 1000


class ConfError(Exception):
    """The file, or one that it includes, cannot be read; the text is one line that names it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One line; the value may hold a password."""

    keyword: str
    value: str
    place: str
    """FILE:LINE."""

    def __repr__(self) -> str:
        return f"Setting({self.keyword!r}, {self.place!r})"


def read_settings(path: Path, read: Callable[[Path], str]) -> list[Setting]:
    """All settings in order, included files in their place. `read` raises OSError or ValueError. Raises ConfError."""
    settings: list[Setting] = []
    waiting: list[tuple[Iterator[Setting], int]] = [(_lines(path, read), 0)]
    files = 1
    while waiting:
        lines, level = waiting[-1]
        setting = next(lines, None)
        if setting is None:
            waiting.pop()
        elif setting.keyword.lower() != "include":
            settings.append(setting)
        else:
            files += 1
            if level == INCLUDES_MAX or files > _FILES_MAX:
                raise ConfError(f"{setting.place}: files include each other more than {INCLUDES_MAX} levels deep")
            waiting.append((_lines(Path(setting.value), read, setting.place), level + 1))
    return settings


def _lines(path: Path, read: Callable[[Path], str], included_at: str = "") -> Iterator[Setting]:
    try:
        text = read(path)
    except (OSError, ValueError) as error:
        where = f"{included_at}: " if included_at else ""
        raise ConfError(f"{where}{path}: {getattr(error, 'strerror', None) or 'not text'}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.partition("#")[0].partition("\r")[0].strip(" \t").split(None, 1)
        if words:
            yield Setting(words[0], words[1] if len(words) > 1 else "", f"{path}:{number}")
