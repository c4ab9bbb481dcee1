"""The run directory of `tamis up` and `tamis join`: a lock, Ray's files and the token of the cell."""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO

from cluster.ray_config import RayConfig
from wire.config import ConfigError

_RAY_DIR_BYTES_MAX = 36
"""Ray adds /ray/session_<date>_<time>_<pid>/sockets/plasma_store to it."""
_TOKEN_CHARACTERS_MIN = 32


def lock(run_dir: Path) -> IO[bytes]:
    """Make the run directory ours for as long as the file is open. Raises ConfigError and OSError."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    locked = (run_dir / "lock").open("wb")
    try:
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        locked.close()
        raise ConfigError(f"--run-dir {run_dir}: another `tamis` runs there") from None
    return locked


def ray_dir(config: RayConfig, run_dir: Path, parts: contextlib.ExitStack) -> Path:
    """Where Ray keeps its files; below /tmp, and removed with `parts`, when the run directory has too long a path."""
    if config.temp_dir:
        return Path(config.temp_dir)
    if len(os.fsencode(run_dir)) <= _RAY_DIR_BYTES_MAX:
        return run_dir / "ray"
    temp_dir = Path(tempfile.mkdtemp(prefix="tamis-ray-", dir="/tmp"))
    parts.callback(shutil.rmtree, temp_dir, ignore_errors=True)
    return temp_dir


def fresh_token(directory: Path) -> Path:
    """A file with a secret that only this run knows."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = directory / "token"
    token.unlink(missing_ok=True)
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return token


def given_token(token_file: str) -> Path:
    """The file of the operator. Raises ConfigError when it is no secret."""
    path = Path(token_file).absolute()
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[ray] token_file {token_file}: {getattr(error, 'strerror', None) or 'no text'}") from error
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(f"[ray] token_file {token_file}: others can read or change it; chmod 600")
    if len(text) < _TOKEN_CHARACTERS_MIN or not text.isprintable() or " " in text:
        raise ConfigError(f"[ray] token_file {token_file}: not {_TOKEN_CHARACTERS_MIN} characters on one line")
    return path
