"""Private keys that are fetched from elsewhere, kept in memory for a while."""

import re
from collections.abc import Awaitable, Callable

from actors.adapters.remembered import Remembered, Room
from actors.dkim.signing.private_key import KeyUnavailable, PrivateKey, PrivateKeyError, load_private_key
from actors.ports import Clock

KEPT_MAX = 20_000

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.@/-]{0,252})")


def check_key_name(name: str) -> None:
    """It may become an argument or a path: none begins with "-" or leads upwards. Raises PrivateKeyError."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise PrivateKeyError("the name of a key has letters, digits and _ . @ / - alone")


class FetchedKeys:
    """A KeySource by name over what fetches the text of one key.

    A key that cannot be had is not asked for again for some seconds: each question may be a process, and each mail
    asks. One that was had before holds for an hour more while nobody can say (actors/adapters/remembered.py).
    """

    def __init__(self, fetch: Callable[[str], Awaitable[bytes]], clock: Clock, ttl_s: float, bits_min: int) -> None:
        """`fetch` raises PrivateKeyError, and has a bound of its own."""
        self._fetch = fetch
        self._bits_min = bits_min
        self._kept: Remembered[str, PrivateKey] = Remembered(
            clock, ttl_s, Room(KEPT_MAX), away=KeyUnavailable, kept_failures=(PrivateKeyError,)
        )

    async def key(self, text: str) -> PrivateKey:
        """The key of this name. Raises PrivateKeyError."""
        check_key_name(text)
        return await self._kept.get(text, lambda: self._load(text))

    async def close(self) -> None:
        """Wait for what is being asked."""
        await self._kept.close()

    async def _load(self, name: str) -> PrivateKey:
        return load_private_key(await self._fetch(name), self._bits_min)
