"""One TOML file into typed, frozen settings; every mistake is one line that names the line of the file.

The schema is a tree of `msgspec.Struct`s (`Section`): unknown keys and wrong types are refused by msgspec, ranges by
each section's `__post_init__`. msgspec names the place as a path (`$.gateway.listen[1]`); `_line_of` finds it again
in the text, since tomllib keeps no positions.
"""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

R = TypeVar("R")

SECTIONS = (
    "gateway",
    "dns",
    "redis",
    "dkim",
    "policy",
    "classifier",
    "antivirus",
    "headers",
    "dmarc_report",
    "cluster",
    "ray",
    "trace",
)
"""Every top-level table of the file, so that a process that reads only some still refuses a misspelt one."""

_PASSWORD = re.compile(rb"(://[^/@\"\s]*:)[^/@\"\s]*@")
_PLACE = re.compile(r"^(?P<what>.*) - at `\$(?P<path>[^`]*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_TABLE = re.compile(r"^\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"""^\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\s*=""")


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line for the operator, with file and line."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of the file: frozen, unknown keys refused."""


def load(path: Path, root: type[R]) -> R:
    """Read and check `path`. Raises ConfigError, one line, for everything that can be wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, root, name=str(path))


def parse(text: str, root: type[R], name: str = "config") -> R:
    """Check the text of a file against the schema `root`. Raises ConfigError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    for key in data:
        if key not in SECTIONS:
            line = _line_of(text, [key])
            raise ConfigError(f"{name}:{line}: unknown section [{key}]; known are {', '.join(SECTIONS)}")
    try:
        return msgspec.convert(_with_lists(data, root), type=root)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(text, name, str(error))) from error


def defaults(root: type[R]) -> R:
    """The settings of an empty file."""
    return msgspec.convert({}, type=root)


def dump(settings: object) -> dict[str, Any]:
    """Settings as plain data, for `config dump` and the log; passwords inside URLs are masked."""
    plain: dict[str, Any] = msgspec.json.decode(_PASSWORD.sub(rb"\1***@", msgspec.json.encode(settings)))
    return plain


def version_of(settings: object) -> str:
    """A short name for exactly these settings, to compare processes by: eight hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(dump(settings))).hexdigest()[:8]


def _with_lists(data: dict[str, Any], section: type) -> dict[str, Any]:
    """The data with `key = "one"` as `key = ["one"]` wherever the schema has a list of strings."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(section)}
    filled = dict(data)
    for key, value in data.items():
        wanted = types.get(key)
        if wanted == tuple[str, ...] and isinstance(value, str):
            filled[key] = [value]
        elif isinstance(value, dict) and isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            filled[key] = _with_lists(value, wanted)
        elif isinstance(value, list) and (table := _table_of(wanted)) is not None:
            filled[key] = [_with_lists(item, table) if isinstance(item, dict) else item for item in value]
    return filled


def _table_of(wanted: object) -> type | None:
    """The section of `tuple[Section, ...]`: a table that the file repeats."""
    item, *_ = get_args(wanted) or (None,)
    return item if isinstance(item, type) and issubclass(item, msgspec.Struct) else None


def _explain(text: str, name: str, message: str) -> str:
    match = _PLACE.match(message)
    what, path_text = (match["what"], match["path"]) if match else (message, "")
    path = [part for part in re.split(r"[.\[\]]", path_text) if part]
    unknown = _UNKNOWN.search(what)
    if unknown:
        path.append(unknown[1])
        what = f"unknown key `{unknown[1]}`"
    where = ".".join(path)
    return f"{name}:{_line_of(text, path)}: {what}" + (f" (at {where})" if where else "")


def _line_of(text: str, path: list[str]) -> int:
    """The line on which the deepest part of `path` that the text names stands; 1 when none is found."""
    wanted = [part for part in path if not part.isdigit()]
    best_depth, best_line = 0, 1
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        header = _TABLE.match(line)
        if header:
            table = _split_key(header[2])
            here = table
        else:
            key = _KEY.match(line)
            if not key:
                continue
            here = table + _split_key(key[1])
        depth = len(here) if here == wanted[: len(here)] else 0
        if depth > best_depth:
            best_depth, best_line = depth, number
    return best_line


def _split_key(key: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", key)]
