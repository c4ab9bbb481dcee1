"""Tables and lists of DKIM signing in a directory, through ldap3 (`pip install 'tamis[ldap]'`).

Questions run in threads, so that none holds the loop; ldap3's own timeouts end each answer, ours all the pages of one.
A connection is kept for the next question; one that the directory has closed meanwhile is made anew, once. Servers
share the time to connect, so that one that swallows packets leaves some for the next. What mail brings gets into a
filter or a distinguished name escaped (RFC 4515 section 3, RFC 4514 section 2.4). Referrals are not followed: the next
server could be anybody's, and would get the password.
"""

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path
from typing import NamedTuple, TypeVar

from ldap3 import (
    AUTO_BIND_NO_TLS,
    AUTO_BIND_TLS_BEFORE_BIND,
    BASE,
    LEVEL,
    NONE,
    SUBTREE,
    Connection,
    Server,
    Tls,
)
from ldap3.core.exceptions import LDAPCommunicationError, LDAPExceptionError
from ldap3.core.results import RESULT_INVALID_DN_SYNTAX, RESULT_NO_SUCH_OBJECT, RESULT_SUCCESS
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn
from pyasn1.error import PyAsn1Error

from actors.adapters.dkim_files import read_secret
from actors.adapters.dkim_lookup import WHOLE_TIMEOUT_S, SourceDown
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.ldap_place import LdapPlace, components, fill
from actors.dkim.signing.private_key import PrivateKeyError
from actors.dkim.signing.tables import Entry, TableError

T = TypeVar("T")
_CONNECTIONS_MAX = 4
_PAGE = 500
_NAMES_AT_ONCE = 64
_FOUND_MAX = 1000
"""Entries for the names of one search."""
_LISTED_MAX = 100_000
"""Entries of a list, which take half of WHOLE_TIMEOUT_S."""
_RUBBISH = (AttributeError, LookupError, PyAsn1Error, RecursionError, TypeError, ValueError)
"""What ldap3's decoder lets out of an answer that is none."""
_SCOPES = {"base": BASE, "one": LEVEL, "sub": SUBTREE}
_ABSENT = (RESULT_INVALID_DN_SYNTAX, RESULT_NO_SUCH_OBJECT)
_PAGED = "1.2.840.113556.1.4.319"
_NO_ATTRIBUTES = ("1.1",)
"""RFC 4511 section 4.5.1.8."""


class _Search(NamedTuple):
    base: str
    filter: str
    scope: str
    attributes: Sequence[str]
    found_max: int = _FOUND_MAX
    """Entries; the directory's own bound may be below."""
    absent: Sequence[int] = ()
    """Results that mean that there is nothing."""


_Found = Mapping[str, Sequence[bytes]]
"""An entry: the values by attribute, in lower case."""
_Searched = Callable[[_Search], Iterator[_Found]]
"""`_search` on a connection, until its time is over."""
_ROOT = _Search("", "(objectClass=*)", "base", _NO_ATTRIBUTES)
"""What every directory tells of itself (RFC 4512 section 5.1)."""


class LdapTable:
    """A TableSource: one data set of a directory. Connects when first asked."""

    def __init__(self, place: LdapPlace, config: SigningConfig, directory: Path = Path()) -> None:
        """Raises TableError when the password cannot be read."""
        self.name = f"ldap base {place.base}"
        self._place = place
        self._user = config.ldap_bind_user
        self._password = partial(_password, config.ldap_bind_password, directory)
        self._password()
        self._start_tls = config.ldap_use_tls and not place.tls
        self._connect_timeout_s = config.table_timeout_s / len(place.servers)
        self._answer_timeout_s = ceil(config.table_timeout_s)
        self._authority = str(directory / config.ldap_ca_file) if config.ldap_ca_file else None
        self._idle: list[Connection] = []
        self._threads = ThreadPoolExecutor(_CONNECTIONS_MAX, thread_name_prefix="ldap")

    async def rows(self, names: Sequence[str]) -> Sequence[Entry]:
        """One search for many names where the filter allows it, else one for each."""
        asked = [name for name in names if name and name.isprintable()]
        if not self._place.name_attribute:
            return await self._run(lambda search: list(self._each(search, asked)))
        filters = [fill(self._place.filter, escape_filter_chars(name)) for name in asked]
        several = [filters[start : start + _NAMES_AT_ONCE] for start in range(0, len(filters), _NAMES_AT_ONCE)]
        return await self._run(
            lambda search: [row for some in several for row in self._named(search, f"(|{''.join(some)})", _FOUND_MAX)]
        )

    async def all_rows(self) -> Sequence[Entry]:
        """In pages."""
        if not self._place.name_attribute:
            raise SourceDown("it can be listed only with (ATTRIBUTE=$d) in its filter, and $d nowhere else")
        query = fill(self._place.filter, "*")
        return await self._run(lambda search: list(self._named(search, query, _LISTED_MAX)))

    async def answers(self) -> bool:
        """Whether it tells of itself."""
        try:
            await self._run(lambda search: list(search(_ROOT)))
        except SourceDown:
            return False
        return True

    async def close(self) -> None:
        """Give back connections; a thread that a dead directory holds ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._idle:
            await asyncio.to_thread(_unbind, self._idle.pop())

    def _each(self, search: _Searched, names: Sequence[str]) -> Iterator[Entry]:
        place = self._place
        for name in names:
            labels = components(name, escape_rdn)
            base = fill(place.base, escape_rdn(name), labels)
            query = fill(place.filter, escape_filter_chars(name), escape_filter_chars(labels))
            # Where the name makes the base, one that is not there is an answer; else it is a mistake in the settings.
            absent = _ABSENT if "$" in place.base else ()
            one = _Search(base, query, place.scope, place.attributes or _NO_ATTRIBUTES, absent=absent)
            for found in islice(search(one), 1):
                yield Entry(name, self._value(found))

    def _named(self, search: _Searched, query: str, found_max: int) -> Iterator[Entry]:
        place, attribute = self._place, self._place.name_attribute
        for found in search(_Search(place.base, query, place.scope, (attribute, *place.attributes), found_max)):
            names = found.get(attribute.lower())
            if not names:
                # Not the same as none: mail of ours would leave unsigned.
                raise SourceDown(f"an entry comes without {attribute}: another name of it, or not to be read")
            for name in names:
                yield Entry(_plain(name), self._value(found))

    def _value(self, found: _Found) -> str:
        """The first value of each attribute, joined as a file has it."""
        return ":".join(_plain(next(iter(found.get(name.lower(), ())), b"")) for name in self._place.attributes)

    async def _run(self, ask: Callable[[_Searched], T]) -> T:
        """In a thread, which does not go on for long when nobody waits any more."""
        end_s = time.monotonic() + WHOLE_TIMEOUT_S

        def work(connection: Connection) -> T:
            return ask(partial(_search, connection, end_s))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, work)
        except (LDAPExceptionError, OSError) as error:
            # Not its text: it may hold users and names.
            raise SourceDown(type(error).__name__) from None

    def _ask(self, ask: Callable[[Connection], T]) -> T:
        try:
            kept = self._idle.pop()
        except IndexError:
            return self._ask_on(self._connect(), ask)
        try:
            return self._ask_on(kept, ask)
        except LDAPCommunicationError:
            return self._ask_on(self._connect(), ask)

    def _ask_on(self, connection: Connection, ask: Callable[[Connection], T]) -> T:
        try:
            answer = ask(connection)
        except BaseException:
            _unbind(connection)
            raise
        self._idle.append(connection)
        return answer

    def _connect(self) -> Connection:
        """To the first server that takes us."""
        *others, last = self._place.servers
        for host, port in others:
            with suppress(LDAPCommunicationError, OSError):
                return self._connect_to(host, port)
        return self._connect_to(*last)

    def _connect_to(self, host: str, port: int) -> Connection:
        # ldap3 verifies nothing unless it is told to, and a Server that was away stays so for minutes: made each time.
        tls = Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=self._authority, sni=host)
        use_ssl = self._place.tls
        try:
            password = self._password()
        except TableError as error:
            raise SourceDown(str(error)) from None
        with _decoding():
            return Connection(
                Server(host, port, use_ssl=use_ssl, get_info=NONE, tls=tls, connect_timeout=self._connect_timeout_s),
                self._user or None,
                password or None,
                auto_bind=AUTO_BIND_TLS_BEFORE_BIND if self._start_tls else AUTO_BIND_NO_TLS,
                auto_referrals=False,
                check_names=False,
                read_only=True,
                receive_timeout=self._answer_timeout_s,
            )


def _search(connection: Connection, end_s: float, search: _Search) -> Iterator[_Found]:
    """Every entry. Raises SourceDown, also after `end_s` of the monotonic clock, and LDAPExceptionError."""
    found, cookie = 0, None
    while True:
        if time.monotonic() > end_s:
            raise SourceDown("no answer in time")
        with _decoding():
            connection.search(
                search.base,
                search.filter,
                _SCOPES[search.scope],
                attributes=list(search.attributes),
                paged_size=_PAGE,
                paged_cookie=cookie,
            )
            result = connection.result
            entries = [one["raw_attributes"] for one in connection.response or () if one["type"] == "searchResEntry"]
            cookie = (result.get("controls") or {}).get(_PAGED, {}).get("value", {}).get("cookie")
        if result["result"] in search.absent:
            return
        if result["result"] != RESULT_SUCCESS:
            raise SourceDown(str(result["description"]))
        found += len(entries)
        if found > search.found_max:
            raise SourceDown(f"more than {search.found_max} entries")
        yield from ({name.lower(): values for name, values in one.items()} for one in entries)
        if not cookie:
            return


@contextmanager
def _decoding() -> Iterator[None]:
    """Around what reads answers. Raises LDAPCommunicationError for one that is none."""
    try:
        yield
    except _RUBBISH as error:
        raise LDAPCommunicationError(type(error).__name__) from None


def _unbind(connection: Connection) -> None:
    with suppress(LDAPExceptionError, OSError):
        connection.unbind()


def _password(setting: str, directory: Path) -> str:
    kind, _, place = setting.partition(":")
    if not setting:
        return ""
    try:
        text = os.environb.get(os.fsencode(place), b"") if kind == "env" else read_secret(directory / place)[0]
        password = text.decode().rstrip("\r\n")
    except (PrivateKeyError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, PrivateKeyError) else "is no text"
        raise TableError(f"`ldap_bind_password`: {reason}") from None
    if not password:
        # RFC 4513 section 5.1.2: a bind without one succeeds, as nobody.
        raise TableError(f"`ldap_bind_password`: {setting} is empty")
    return password


def _plain(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()
