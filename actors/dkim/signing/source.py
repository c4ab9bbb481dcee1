"""What signing needs beside the message, as one value that may be another one for the next message."""

from dataclasses import dataclass
from typing import Protocol

from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.private_key import KeySource
from actors.dkim.signing.tables import SigningTables


@dataclass(frozen=True, slots=True)
class Signing:
    """Who is signed for, and with which keys."""

    rules: SigningRules
    tables: SigningTables
    keys: KeySource


class SigningSource(Protocol):
    """Where that comes from: files that may change while we run, or what stands in their place."""

    async def current(self) -> Signing:
        """What holds now. Raises TableError when it could never be read."""

    async def close(self) -> None:
        """Give back connections."""
