"""Addresses that `tamis up` and the benchmarks listen on: free ports, and ports that somebody else has."""

import contextlib
import random
import socket
from pathlib import Path

from wire.config import ConfigError

_QUIET_PORTS = (15_000, 32_000)
"""Below the range from which Linux and Ray take ports, so that nobody gets one of ours before we listen there."""
_TRIES = 1000


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


def free_port(host: str = "127.0.0.1", count: int = 1) -> int:
    """The first of so many ports in a row that are free, below those that the kernel itself hands out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_TRIES):
        first = random.randrange(*_QUIET_PORTS)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for number in range(count):
                probes.enter_context(socket.socket(family)).bind((host, first + number))
            return first
    raise ConfigError(f"{host}: no {count} ports in a row are free")


def host_port(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
