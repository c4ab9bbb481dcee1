"""cli/__main__.py: the list of commands needs nothing of them."""

import pytest
from click.testing import CliRunner

from cli.__main__ import SUBCOMMANDS, main


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in SUBCOMMANDS)


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["fly"])
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.output


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> object:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")

    monkeypatch.setattr("importlib.import_module", missing)
    result = CliRunner().invoke(main, ["up"])
    assert result.exit_code == 2
    assert "pip install 'tamis[cluster]'" in result.output


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS))
def test_each_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert SUBCOMMANDS[name].summary.split(":")[0] in " ".join(result.output.split())
