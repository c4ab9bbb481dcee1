"""Where a data set lies at a web server: `https://host[:port]/path`, in pieces. Pure."""

from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """One file, in the form of `file:`."""

    name: str
    """The URL, for errors and the log."""
    tls: bool
    host: str
    port: int
    path: str


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
    if "?" in setting:
        raise ValueError("a http: has no query: it would be shown wherever settings are; %3F stands for ?")
    path = parts.path or "/"
    name = f"{parts.scheme}://{parts.netloc}{path}"
    return HttpPlace(name, parts.scheme == "https", host, port or _PORTS[parts.scheme], path)
