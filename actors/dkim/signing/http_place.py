"""Where a data set lies at a web server: `https://host[:port]/path[?query]`, in pieces. Pure."""

from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """One file, in the form of `file:`."""

    name: str
    """For errors and the log: without the query, which may hold a secret."""
    tls: bool
    host: str
    port: int
    target: str
    """Path and query."""


def parse_http_place(setting: str) -> HttpPlace:
    """Raises ValueError, which does not quote the setting: someone may have put a password into it."""
    try:
        parts = urlsplit(setting)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in _PORTS or parts.fragment or not (setting.isascii() and setting.isprintable()):
        raise ValueError("a http: is one URL https://HOST[:PORT]/PATH, in ASCII")
    if "@" in parts.netloc or " " in setting:
        raise ValueError("a http: has neither user and password nor blanks")
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    name = f"{parts.scheme}://{parts.netloc}{path}"
    return HttpPlace(name, parts.scheme == "https", host, port or _PORTS[parts.scheme], target)
