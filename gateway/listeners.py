"""Listening sockets of our own, for when no service manager hands us any."""

import errno
import grp
import os
import socket
from pathlib import Path

from gateway.config import GatewayConfig, unix_mode
from wire.milter import TcpAddress, UnixAddress, parse_listen

BACKLOG = 4096


class ListenError(Exception):
    """An address cannot be listened on; the text is one line for the operator."""


def listen(text: str, config: GatewayConfig) -> list[socket.socket]:
    """Sockets for one address; a host name may have several. Raises ListenError."""
    address = parse_listen(text)
    try:
        if isinstance(address, UnixAddress):
            return [_listen_unix(address.path, config)]
        return _listen_tcp(address, reuse_port=config.reuse_port)
    except (OSError, LookupError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ListenError(f"{text}: cannot listen: {reason or error}") from error


def address_of(listening: socket.socket) -> str:
    """Where a socket listens, as `listen` writes it."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return str(UnixAddress(name.decode() if isinstance(name, bytes) else name))
    return str(TcpAddress(name[0], name[1]))


def _listen_tcp(address: TcpAddress, *, reuse_port: bool) -> list[socket.socket]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            port = address.port or (sockets[0].getsockname()[1] if sockets else 0)
            sockets.append(
                socket.create_server(
                    (where[0], port, *where[2:])[: len(where)],
                    family=socket.AddressFamily(family),
                    backlog=BACKLOG,
                    reuse_port=reuse_port,
                )
            )
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _listen_unix(path_text: str, config: GatewayConfig) -> socket.socket:
    path = Path(path_text)
    _remove_dead_socket(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path_text)
        # Nobody can connect before `listen`, so nobody meets other permissions than these.
        path.chmod(unix_mode(config.socket_mode))
        if config.socket_group:
            _chown(path, config.socket_group)
        listening.listen(BACKLOG)
    except (OSError, LookupError):
        listening.close()
        raise
    return listening


def _chown(path: Path, group: str) -> None:
    try:
        group_id = grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"no group {group!r}") from None
    os.chown(path, -1, group_id)


def _remove_dead_socket(path: Path) -> None:
    """Remove a socket file that nobody listens on any more. Raises OSError when somebody does."""
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "Address already in use")
