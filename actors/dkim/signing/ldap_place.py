"""Where a data set of a directory lies: OpenDKIM's `ldap:` (opendkim(8), DATA SETS), an RFC 4516 URL, in pieces. Pure.

    ldap://host[:port]/base?attributes?scope?filter [ldap://another-host ...]

In base and filter `$d` is the name that is looked for and `$D` the same in components: dc=example,dc=org. Bytes that
are special in a URL, blanks too, are percent-encoded. User and password are settings of their own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_PORTS = {"ldap": 389, "ldaps": 636}
_SCOPES = ("base", "one", "sub")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*")
_TOKEN = re.compile(r"\$[dD]")
_LISTED = re.compile(r"\(([A-Za-z][A-Za-z0-9-]*)=\$d\)")
_SERVERS_MAX = 8


@dataclass(frozen=True, slots=True)
class LdapPlace:
    """One data set: the entries that the filter selects below `base`, their attributes as the value."""

    servers: tuple[tuple[str, int], ...]
    """Host and port; the first that answers is asked."""
    tls: bool
    """ldaps:."""
    base: str
    attributes: tuple[str, ...]
    """Of the value, in its order; empty = the value is."""
    scope: str
    """base, one or sub."""
    filter: str

    @property
    def name_attribute(self) -> str:
        """What holds the name, where `(ATTRIBUTE=$d)` is all that is said of it; else empty.

        Then several names are asked for at once, and all of them can be listed.
        """
        match = _LISTED.search(self.filter)
        alone = "$" not in self.base and self.filter.count("$d") == 1 and "$D" not in self.filter
        return match[1] if match and alone else ""


def parse_ldap_place(setting: str) -> LdapPlace:
    """Raises ValueError, which does not quote the setting: someone may have put a password into it."""
    first, *others = setting.split() or [""]
    kind, _, place = first.partition("://")
    rest = place.partition("/")[2]
    if kind not in _PORTS or len(others) >= _SERVERS_MAX:
        raise ValueError(f"an ldap: is up to {_SERVERS_MAX} URLs ldap://HOST/BASE?ATTRIBUTES?SCOPE?FILTER")
    base, names, scope, query, *extensions = (unquote(part) for part in (rest + "?" * 3).split("?"))
    if any(extensions):
        raise ValueError("an ldap: has no extensions: `ldap_use_tls` is a setting of its own; %3F stands for ?")
    attributes = tuple(name.strip() for name in names.split(",") if name.strip())
    if not all(_ATTRIBUTE.fullmatch(name) for name in attributes):
        raise ValueError("the attributes of an ldap: are plain names")
    scope, query = scope.lower() or "base", query or "(objectClass=*)"
    if scope not in _SCOPES:
        raise ValueError(f"the scope of an ldap: is {', '.join(_SCOPES)}")
    if not (query.startswith("(") and query.endswith(")")):
        raise ValueError("the filter of an ldap: is in parentheses")
    servers = tuple(_server(kind, url) for url in (first, *others))
    return LdapPlace(servers, kind == "ldaps", base, attributes, scope, query)


def fill(template: str, name: str, labels: str = "") -> str:
    """`$d` and `$D` replaced, each with what is escaped already; what they bring in is not looked at again."""
    return _TOKEN.sub(lambda token: name if token[0] == "$d" else labels, template)


def components(name: str, escape: Callable[[str], str]) -> str:
    """`$D`: each label of a name with "dc=" before it, escaped for a distinguished name (RFC 4514)."""
    return ",".join(f"dc={escape(label)}" for label in name.split(".") if label)


def _server(kind: str, url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the host of an ldap: is HOST or HOST:PORT") from None
    if "@" in parts.netloc:
        raise ValueError("user and password are not in an ldap: but in `ldap_bind_user` and `ldap_bind_password`")
    if not url.startswith(f"{kind}://"):
        raise ValueError("the URLs of an ldap: are all ldap: or all ldaps:")
    return host or "localhost", port or _PORTS[kind]
