"""cli/__main__.py: the list of commands needs nothing of them, and every mistake is one line with exit code 2."""

import subprocess
import sys

import pytest

from cli.__main__ import SUBCOMMANDS, main, usage


def run(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


def test_help_names_every_command() -> None:
    assert all(f"  {name} " in usage() for name in SUBCOMMANDS)


def test_no_word_at_all_is_answered_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out.strip() == usage()


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fly") == 2
    assert capsys.readouterr().err == f"tamis: no command `fly`; there are: {', '.join(SUBCOMMANDS)}\n"


@pytest.mark.parametrize("words", [("send", "--nonsense"), ("send",), ("scan", "--timeout-s", "soon", "x")])
def test_a_wrong_option_is_a_usage_error(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert "Error" in capsys.readouterr().err


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_name: str) -> object:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")

    monkeypatch.setattr("importlib.import_module", missing)
    assert run("up") == 2
    assert "pip install 'tamis[cluster]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS))
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert SUBCOMMANDS[name].summary.split(":")[0] in " ".join(capsys.readouterr().out.split())


def test_listing_the_commands_imports_none_of_them() -> None:
    code = "import sys; from cli.__main__ import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"cli.up", "cli.send", "cli.scan", "ray", "grpc", "numpy"}
