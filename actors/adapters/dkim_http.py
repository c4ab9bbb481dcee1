"""Tables and lists of DKIM signing at a web server: each a file in the form of `file:`, fetched whole.

Mail is answered from memory. What is older than `table_ttl_s` is fetched again beside the mail, if it has changed
(RFC 9110 section 13.1); while the server is away what is known holds for an hour more. Nothing is taken by halves: an
answer whose end is not known is none. Certificates are verified; redirects are not followed, and no proxy is asked, as
who answers decides whose mail is signed.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple

from actors.adapters.dkim_lookup import WHOLE_TIMEOUT_S
from actors.adapters.remembered import OUTLIVES_S, RETRY_S
from actors.dkim.signing.http_place import HttpPlace
from actors.dkim.signing.tables import Entry, NamedTable, TableError, TableUnavailable, parse_entries
from actors.ports import Clock

log = logging.getLogger(__name__)

BYTES_MAX = 64 * 1024 * 1024
_PART_BYTES = 64 * 1024


class _Version(NamedTuple):
    """What a server gave, and by what it is asked whether it still holds."""

    table: NamedTable
    conditions: dict[str, str]


class HttpTable:
    """A Table over one URL. Connects when first asked."""

    def __init__(self, place: HttpPlace, clock: Clock, timeout_s: float, ttl_s: float) -> None:
        """`timeout_s` is how long mail waits while nothing is known, and the server may be silent."""
        self._place = place
        self._clock = clock
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._tls = ssl.create_default_context() if place.tls else None
        self._version: _Version | None = None
        self._held_s = 0.0
        """When the server last said that the version holds."""
        self._asked_s: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._problem = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="http")

    async def find(self, names: Sequence[str]) -> Sequence[Entry]:
        """The entries of these names. Raises TableUnavailable."""
        self._fetch_when_due()
        if self._known() is None:
            await self._wait(self._timeout_s)
        return self._table().find_now(names)

    async def entries(self) -> Sequence[Entry]:
        """In the order of the file. Raises TableUnavailable."""
        self._fetch_when_due()
        await self._wait(WHOLE_TIMEOUT_S)
        return await self._table().entries()

    async def close(self) -> None:
        """Ends what is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _known(self) -> NamedTable | None:
        holds = self._clock.monotonic_s() - self._held_s < self._ttl_s + OUTLIVES_S
        return self._version.table if self._version is not None and holds else None

    def _table(self) -> NamedTable:
        table = self._known()
        if table is None:
            raise TableUnavailable(f"{self._place.name}: {self._problem or 'no answer in time'}")
        return table

    def _fetch_when_due(self) -> None:
        pause_s = min(self._ttl_s, RETRY_S) if self._problem else self._ttl_s
        due = self._asked_s is None or self._clock.monotonic_s() - self._asked_s >= pause_s
        if self._fetching is None and due:
            self._fetching = asyncio.create_task(self._fetch())

    async def _wait(self, timeout_s: float) -> None:
        if self._fetching is not None:
            await asyncio.wait({self._fetching}, timeout=timeout_s)

    async def _fetch(self) -> None:
        try:
            version = await self._fetched()
        except TableError as error:
            if str(error) != self._problem:
                log.warning("signing_table fetched=no known=%s %s: %s", bool(self._version), self._place.name, error)
            self._problem = str(error)
        else:
            if self._problem:
                log.warning("signing_table fetched=yes %s", self._place.name)
            self._version, self._held_s, self._problem = version, self._clock.monotonic_s(), ""
        finally:
            self._asked_s = self._clock.monotonic_s()
            self._fetching = None

    async def _fetched(self) -> _Version:
        """Raises TableError."""
        connection, loop = self._connection(), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WHOLE_TIMEOUT_S):
                return await loop.run_in_executor(self._thread, self._get, connection, self._version)
        except (HTTPException, OSError, ValueError) as error:
            raise TableUnavailable(type(error).__name__) from None
        finally:
            _end(connection)

    def _connection(self) -> HTTPConnection:
        place = self._place
        if self._tls is None:
            return HTTPConnection(place.host, place.port, timeout=self._timeout_s)
        return HTTPSConnection(place.host, place.port, timeout=self._timeout_s, context=self._tls)

    def _get(self, connection: HTTPConnection, known: _Version | None) -> _Version:
        """In the thread. Raises TableError, HTTPException, OSError and ValueError."""
        connection.request("GET", self._place.path, headers=known.conditions if known else {})
        response = connection.getresponse()
        with response:
            if known is not None and response.status == HTTPStatus.NOT_MODIFIED:
                return known
            if response.status != HTTPStatus.OK:
                raise TableUnavailable(f"status {response.status}")
            text = _body(response).decode()
        validators = {
            "If-None-Match": response.getheader("ETag"),
            "If-Modified-Since": response.getheader("Last-Modified"),
        }
        conditions = {name: value for name, value in validators.items() if value}
        return _Version(NamedTable(parse_entries(text, "line")), conditions)


def _body(response: HTTPResponse) -> bytes:
    """All of it; the connection's timeout is for each part of it. Raises TableUnavailable."""
    end_s, length = time.monotonic() + WHOLE_TIMEOUT_S, response.length
    if length is None and not response.chunked:
        raise TableUnavailable("the answer does not say where it ends")
    parts, got = [], 0
    while (length is None or got < length) and (part := response.read1(_PART_BYTES)):
        got += len(part)
        if got > BYTES_MAX:
            raise TableUnavailable(f"longer than {BYTES_MAX} bytes")
        if time.monotonic() > end_s:
            raise TableUnavailable("no answer in time")
        parts.append(part)
    if length is not None and got != length:
        raise TableUnavailable("the answer is cut off")
    return b"".join(parts)


def _end(connection: HTTPConnection) -> None:
    """Wakes the thread, too, should it still be reading."""
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
