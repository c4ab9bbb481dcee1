"""Macros of the MTA that the cell wants to see ([gateway] macros), as they hold at the end of a message. Pure."""

from collections.abc import Iterable

from wire.milter import MacroTable

MACROS_MAX = 32
VALUE_BYTES_MAX = 256
"""A longer value is not passed on: cut, it could be taken for another one."""


def listed_macros(table: MacroTable, names: Iterable[str]) -> dict[str, str]:
    """The values of those that are there, by name without braces; one without a value is not there."""
    values = ((name, table.get(name.encode())) for name in names)
    return {name: value.decode("utf-8", "replace") for name, value in values if value and len(value) <= VALUE_BYTES_MAX}
