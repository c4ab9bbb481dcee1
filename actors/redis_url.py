"""Where shared state lies: one server, the primary of a Sentinel's set, or a Cluster, as one URL each. Pure.

redis://[[user]:password@]host[:port][/database]     rediss:// by TLS, unix:///path of a socket
redis+sentinel://[[user]:password@]host[:port],host[:port],.../set[/database]
redis+cluster://[[user]:password@]host[:port],host[:port],...
rediss+sentinel://, rediss+cluster:// by TLS
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

_PORTS = {"one": 6379, "sentinel": 26379, "cluster": 6379}


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """A URL in pieces; its text stays out of messages, since it may hold a password."""

    kind: Literal["one", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    """(host, port): the server, the Sentinels, or some nodes of the Cluster. None for a unix socket."""
    username: str = ""
    password: str = ""
    tls: bool = False
    set_name: str = ""
    """Of the Sentinels: whose primary is asked."""
    database: int = 0


def parse_redis_url(url: str) -> RedisPlace:
    """Raises ValueError, without the URL in its text."""
    full_scheme, _, rest = url.partition("://")
    scheme, _, kind = full_scheme.partition("+")
    if full_scheme == "unix" and rest.startswith("/"):
        return RedisPlace("one", ())
    if scheme not in ("redis", "rediss") or kind not in ("", "sentinel", "cluster"):
        raise ValueError("no redis://, rediss:// or unix:// URL")
    authority, _, path_text = rest.partition("?")[0].partition("/")
    user_info, _, netloc = authority.rpartition("@")
    username, _, password = user_info.partition(":")
    path = [piece for piece in path_text.split("/") if piece]
    set_name = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not set_name:
        raise ValueError("the path of a redis+sentinel:// URL names the set")
    if len(path) > 1 or (path and (kind == "cluster" or not path[0].isdecimal())):
        raise ValueError("the path of a Redis URL ends with the number of the database; a Cluster has none")
    place = kind or "one"
    hosts = tuple(_host(text, _PORTS[place]) for text in (netloc or "localhost").split(","))
    if place == "one" and len(hosts) > 1:
        raise ValueError("several hosts need redis+sentinel:// or redis+cluster://")
    return RedisPlace(
        "sentinel" if kind == "sentinel" else "cluster" if kind == "cluster" else "one",
        hosts,
        unquote(username),
        unquote(password),
        scheme == "rediss",
        unquote(set_name),
        int(path[0]) if path else 0,
    )


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host of a Redis URL is empty")
    return parts.hostname, parts.port or port
