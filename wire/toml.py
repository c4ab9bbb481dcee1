"""Plain data as TOML text, for the dump of a config: what `wire.config.dump` gives, `tomllib` reads back.

The standard library only reads TOML; what a config holds (strings, numbers, lists, tables) takes a page to write.
"""

import json
import re
from collections.abc import Iterator, Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

Plain = str | bool | int | float | list["Plain"] | dict[str, "Plain"]


def to_toml(data: Mapping[str, Plain]) -> str:
    """The text of one file. None, which TOML does not have, is left out."""
    return "\n".join(_table(data, "")).lstrip("\n") + "\n"


def _table(table: Mapping[str, Plain], path: str) -> Iterator[str]:
    """The table's own values, then its tables, each below its header."""
    inner: list[tuple[str, str, Mapping[str, Plain]]] = []
    for key, value in table.items():
        place = f"{path}.{_key(key)}" if path else _key(key)
        if isinstance(value, dict):
            inner.append(("[{}]", place, value))
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            inner += [("[[{}]]", place, item) for item in value if isinstance(item, dict)]
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for header, place, content in inner:
        yield "\n" + header.format(place)
        yield from _table(content, place)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Plain) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too, and surrogate pairs, which it lacks.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
