"""What `tamis up` leaves in its run directory for `tamis status` and the others: address and tokens.

admin/address          host:port of the admin service
admin/operator.token   for who changes the cell
admin/viewer.token     for who only looks
admin/tokens           the sums of both, for the supervisor
"""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

import msgspec

from cli.addresses import free_port, host_port
from cluster.admin.access import Role, TokensError, read_tokens, token_sum
from cluster.config import AdminConfig, ClusterConfig, listen_address
from wire.config import ConfigError


def check_tokens(config: AdminConfig) -> None:
    """Raises ConfigError when the operator's file of tokens would let nobody in."""
    if config.tokens:
        try:
            read_tokens(Path(config.tokens))
        except TokensError as error:
            raise ConfigError(f"[cluster.admin] tokens: {error}") from error


def with_admin(config: ClusterConfig, run_dir: Path, parts: contextlib.ExitStack) -> ClusterConfig:
    """The settings with a fixed port and a file of tokens; what is written for it goes with `parts`. Raises OSError."""
    admin = config.admin
    if not admin.listen:
        return config
    directory = run_dir / "admin"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    parts.callback(shutil.rmtree, directory, ignore_errors=True)
    host, port = listen_address(admin.listen)
    listen = host_port(host, port or _free_port(host, config))
    _write(directory / "address", listen)
    tokens = admin.tokens or str(_make_tokens(directory))
    # Ray's processes have another working directory.
    admin = AdminConfig(listen=listen, tokens=str(Path(tokens).absolute()))
    changed: ClusterConfig = msgspec.structs.replace(config, admin=admin)
    return changed


def _free_port(host: str, config: ClusterConfig) -> int:
    """None of those that the ingresses will have: they are still free, too."""
    _, first = listen_address(config.listen)
    while (port := free_port(host)) in range(first, first + config.ingresses):
        pass
    return port


def _make_tokens(directory: Path) -> Path:
    lines = []
    for role in Role:
        token = secrets.token_hex(32)
        _write(directory / f"{role.name.lower()}.token", token)
        lines.append(f"{role.name.lower()} {role.name.lower()} {token_sum(token)}")
    _write(directory / "tokens", "\n".join(lines))
    return directory / "tokens"


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text + "\n")
