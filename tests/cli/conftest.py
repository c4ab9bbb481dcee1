"""A cell in memory for the commands of operators, asked for by the modules that talk to one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.admin import service
from tests.cli.admin_cell import Served, served


@pytest.fixture
def in_a_clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAMIS_ADMIN_TOKEN_FILE", raising=False)
    monkeypatch.setattr(service, "_WATCH_EVERY_S", 0.02)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as found:
        yield found
