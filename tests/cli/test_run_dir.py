from pathlib import Path

import pytest

from cli.run_dir import fresh_token, given_token, lock
from wire.config import ConfigError


def test_a_fresh_token_is_another_one_each_time_and_ours_alone(tmp_path: Path) -> None:
    token = fresh_token(tmp_path / "ray")
    before = token.read_text()
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(before) == 64
    assert fresh_token(tmp_path / "ray").read_text() != before
    assert given_token(str(token)) == token


@pytest.mark.parametrize(
    "text", ["", "short", "a" * 31, "two words that are long enough to be one secret", "a" * 40 + "\nb"]
)
def test_what_is_no_secret_is_no_token(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ConfigError, match="not 32 characters on one line"):
        given_token(str(path))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620])
def test_a_token_that_others_can_read_or_change_is_none(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("a" * 64)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="others can read or change it"):
        given_token(str(path))


def test_a_token_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"token_file .*: No such file or directory"):
        given_token(str(tmp_path / "none"))


def test_a_run_directory_has_one_user(tmp_path: Path) -> None:
    with lock(tmp_path / "run"), pytest.raises(ConfigError, match="another `tamis` runs there"):
        lock(tmp_path / "run")
    lock(tmp_path / "run").close()
