"""What an import makes of a configuration: values of ours that load, and remarks on what else there was.

Shared by the filters that configure themselves as OpenDKIM does: one keyword and its value a line, the last of two
counts.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.dkim.signing.tables import TableError
from cli.config import TamisConfig
from cli.opendkim_conf import Setting
from wire.config import ConfigError, parse


@dataclass(slots=True)
class Imported:
    """What was made of the settings."""

    values: dict[str, dict[str, tuple[object, str]]] = field(default_factory=dict)
    """By table and key: the value and where it comes from."""
    files: dict[Path, str] = field(default_factory=dict)
    """Tables to be written."""
    mistakes: list[str] = field(default_factory=list)
    """What the filter does not know or take, either."""
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    without_object: list[str] = field(default_factory=list)

    def put(self, table: str, values: Mapping[str, tuple[object, Setting]]) -> None:
        """Settings of a table that belong together. Raises TableError, with the reason, when they cannot be ours."""
        try:
            parse("\n".join([f"[{table}]", *(_line(key, value) for key, (value, _) in values.items())]), TamisConfig)
        except ConfigError as error:
            raise TableError(str(error).partition(": ")[2]) from error
        for key, (value, source) in values.items():
            self.values.setdefault(table, {})[key] = value, f"{source.place} {source.keyword}"

    def lose(self, source: Setting, why: str) -> None:
        """Not carried."""
        self.lost.append(f"{source.place}: {source.keyword}: {why}")

    def toml(self, name: str) -> str:
        """The configuration file."""
        lines = [f"# Imported from {json.dumps(name)} by `tamis import`."]
        for table in sorted(self.values):
            lines += ["", f"[{table}]"]
            for key, (value, source) in self.values[table].items():
                lines.append(f"{_line(key, value)}  # {source}")
        return "\n".join(lines) + "\n"


def _line(key: str, value: object) -> str:
    """JSON's strings, numbers, booleans and lists of strings are TOML's."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def last_settings(
    settings: Sequence[Setting], known: Mapping[str, str], filter_name: str, imported: Imported
) -> dict[str, Setting]:
    """By keyword, what counts of it; `known` has keywords by their lower case. Mistakes are told."""
    last: dict[str, Setting] = {}
    for setting in settings:
        keyword = known.get(setting.keyword.lower())
        if keyword is None:
            near = difflib.get_close_matches(setting.keyword.lower(), known, 1)
            hint = f"; {known[near[0]]}?" if near else ""
            imported.mistakes.append(f"{setting.place}: {setting.keyword}: {filter_name} has no such keyword{hint}")
        elif not setting.value:
            imported.mistakes.append(f"{setting.place}: {setting.keyword}: has no value")
        else:
            last[keyword] = Setting(keyword, setting.value, setting.place)
    return last


def carry(setting: Setting, last: dict[str, Setting], imported: Imported, one: Callable[[Setting], None]) -> None:
    """Run `one`, which raises TableError for what cannot be carried and ValueError for what is a mistake."""
    try:
        one(setting)
    except TableError as error:
        imported.lose(setting, str(error))
    except ValueError as error:
        imported.mistakes.append(f"{setting.place}: {setting.keyword}: {error}")
        del last[setting.keyword]


def switch(setting: Setting) -> bool:
    """Raises ValueError."""
    first = setting.value[:1].lower()
    if first not in "tyfn10":
        raise ValueError("is neither yes nor no")
    return first in "ty1"


def number(setting: Setting) -> int:
    """As strtol(3) with base 0 reads it. Raises ValueError."""
    try:
        return int(setting.value, 8 if setting.value.startswith("0") and setting.value.isdecimal() else 0)
    except ValueError:
        raise ValueError("is no number") from None
