"""Writes docs/configuration.md from the settings' own source, so that the page cannot fall behind the code.

Usage: python docs/generate_configuration.py [--check]. Each field's text is the string below it in its class; defaults
come from the classes themselves.
"""

import ast
import inspect
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import get_args

import msgspec

from cli.config import TamisConfig
from wire.config import Section

PAGE = Path(__file__).with_name("configuration.md")
HEAD = """# Configuration

One TOML file serves every process: `tamis up --config tamis.toml`, `tamis-gateway --config tamis.toml`. Without a file
the defaults below hold. An unknown key, a wrong type or a port in use ends the start with exit code 2 and one line
that names the line of the file. Where a list of strings is wanted one string will do. Passwords inside URLs are masked
wherever settings are shown. `tamis-gateway` reads [gateway] and [trace] alone, the other sections are for those who use
them.

This page is written by `docs/generate_configuration.py` from the settings' source; `make lint` checks that it is fresh.
"""


def field_texts(section: type[Section]) -> dict[str, str]:
    """Field name to the string that stands below it in the class body."""
    (node,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(node, ast.ClassDef)
    texts: dict[str, str] = {}
    name = ""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name = item.target.id
        elif name and isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
            texts.setdefault(name, " ".join(str(item.value.value).split()))
    return texts


def type_name(hint: object) -> str:
    """A type as an operator reads it."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "string"
    plain = str(hint).removeprefix("<class '").removesuffix("'>")
    words = {"tuple[str, ...]": "list of strings", "dict[str, float]": "table of numbers", "str": "string"}
    return words.get(
        plain, plain.replace("dict[str, str]", "table of strings").replace("dict[str, int]", "table of integers")
    )


def default_of(field: msgspec.structs.FieldInfo) -> object:
    """What the key is when the file does not say it."""
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _summary(section: type[Section]) -> str:
    """What the class says of the table, without the table's name."""
    first, *_ = (inspect.getdoc(section) or "").split("\n\n")
    text = " ".join(first.split()).partition("]: ")[2]
    return text[:1].upper() + text[1:]


def section_page(table: str, section: type[Section]) -> list[str]:
    """The text of one table and the tables in it."""
    lines = ["", f"## [{table}]", "", _summary(section), ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    texts = field_texts(section)
    nested: list[tuple[str, type[Section]]] = []
    repeated: list[tuple[str, type[Section]]] = []
    for field in msgspec.structs.fields(section):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            nested.append((field.encode_name, field.type))
            continue
        item, *_ = get_args(field.type) or (None,)
        if isinstance(item, type) and issubclass(item, Section):
            repeated.append((field.encode_name, item))
            continue
        value = "none" if field.required else json.dumps(msgspec.to_builtins(default_of(field)))
        if not texts.get(field.name):
            raise SystemExit(f"[{table}] {field.name} has no text below it")
        lines.append(f"| `{field.encode_name}` | {type_name(field.type)} | `{value}` | {texts[field.name]} |")
    if len(lines) == 7:
        del lines[5:]
    for name, inner in nested:
        lines += section_page(f"{table}.{name}", inner)
    for name, inner in repeated:
        lines += section_page(f"[{table}.{name}]", inner)
    return lines


def page() -> str:
    """The whole page."""
    lines: list[str] = []
    for field in msgspec.structs.fields(TamisConfig):
        lines += section_page(field.encode_name, field.type)
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() != page():
            sys.exit("docs/configuration.md is stale: run python docs/generate_configuration.py")
    else:
        PAGE.write_text(page())
