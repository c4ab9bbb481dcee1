import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import GatewayRoot
from wire.config import ConfigError, dump, parse
from wire.toml import to_toml

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SCALARS = st.one_of(
    TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
TABLES = st.recursive(
    st.dictionaries(TEXT, SCALARS, max_size=4),
    lambda inner: st.dictionaries(
        TEXT, st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.lists(inner, max_size=3), inner), max_size=4
    ),
    max_leaves=12,
)


@given(TABLES)
def test_what_is_written_reads_back_as_it_was(data: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(data)) == data


@given(
    tenants=st.dictionaries(TEXT, TEXT, max_size=3),
    daemons=st.lists(TEXT, max_size=3),
    drain_s=st.floats(0, 1e6),
    sessions_max=st.integers(1, 10**9),
)
def test_load_and_dump_of_a_config_is_a_fixed_point(
    tenants: dict[str, str], daemons: list[str], drain_s: float, sessions_max: int
) -> None:
    gateway = {"tenants": tenants, "outbound_daemons": daemons, "drain_s": drain_s, "sessions_max": sessions_max}
    try:
        first = dump(parse(to_toml({"gateway": gateway}), GatewayRoot))
    except ConfigError:
        pytest.fail("a config that can be written can be read")
    text = to_toml(first)
    second = parse(text, GatewayRoot)
    assert second.gateway.tenants == tenants
    assert to_toml(dump(second)) == text


def test_tables_come_after_the_values_of_their_table() -> None:
    data = {"gateway": {"tls": {"key": "k"}, "listen": ["a"], "cells": [{"name": "x"}, {"name": "y"}]}}
    assert to_toml(data) == (
        '[gateway]\nlisten = ["a"]\n\n[gateway.tls]\nkey = "k"\n\n'
        '[[gateway.cells]]\nname = "x"\n\n[[gateway.cells]]\nname = "y"\n'
    )


def test_no_value_is_no_line() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": 1})) == {"b": 1}  # type: ignore[dict-item]
