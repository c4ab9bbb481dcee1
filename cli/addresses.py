"""Addresses that `tamis up` and the benchmarks listen on: free ports, and ports that somebody else has."""

import socket
from pathlib import Path

from wire.config import ConfigError


def check_port(key: str, host: str, port: int) -> None:
    """Raises ConfigError, with the setting's name, when nobody can listen there now."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise ConfigError(f"{key}: cannot listen on {host_port(host, port)}: {error.strerror}") from error


def check_unix(key: str, path: str) -> None:
    """Raises ConfigError when nobody could listen there: no such directory, or another process does."""
    if not Path(path).absolute().parent.is_dir():
        raise ConfigError(f"{key}: there is no such directory")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return  # Nobody there; the gateway says what else may be wrong with the path.
    raise ConfigError(f"{key}: another process listens there")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def host_port(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
