"""Addresses of milter sockets: `inet:PORT@HOST`, `inet6:PORT@HOST`, `unix:PATH`; Postfix's `inet:HOST:PORT` too."""

from dataclasses import dataclass
from typing import Final

_UNIX_PATH_BYTES_MAX: Final = 107


class AddressError(ValueError):
    """The text is no milter address; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP endpoint; port 0 lets the system choose when listening."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{'inet6' if ':' in self.host else 'inet'}:{self.port}@{self.host}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix stream socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def parse_listen(text: str) -> Address:
    """Parse an address. Raises AddressError."""
    transport, colon, rest = text.partition(":")
    if colon and rest and transport in ("unix", "local"):
        if len(rest.encode("utf-8", "surrogateescape")) > _UNIX_PATH_BYTES_MAX or "\0" in rest:
            raise AddressError(f"{text!r}: a socket path has at most {_UNIX_PATH_BYTES_MAX} bytes and no NUL")
        return UnixAddress(rest)
    if colon and transport in ("inet", "inet6"):
        if "@" in rest:
            port_text, _, host = rest.partition("@")
        else:
            host, _, port_text = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (port_text.isascii() and port_text.isdigit() and int(port_text[:6]) <= 65_535):
            raise AddressError(f"{text!r}: the port must be a number from 0 to 65535")
        if not host or any(character.isspace() or character in "@/" for character in host):
            raise AddressError(f"{text!r}: no host; write {transport}:PORT@HOST")
        return TcpAddress(host, int(port_text))
    raise AddressError(f"{text!r}: write inet:PORT@HOST, inet6:PORT@HOST or unix:PATH")
