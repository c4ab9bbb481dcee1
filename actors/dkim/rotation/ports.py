"""What a rotation asks of the world; actors/adapters/ answers it with files, name servers and commands."""

from collections.abc import Sequence
from typing import Protocol

from actors.dkim.rotation.key_table import KeyTableView
from actors.dkim.rotation.state import KeyPlace, Rotation
from actors.dkim.rotation.visibility import Answers
from actors.dkim.signing.private_key import PrivateKey


class RotationError(Exception):
    """A step cannot be done now; the text says why and what to do, and holds no secret."""


class States(Protocol):
    """The rotations between runs. Raises RotationError for one that cannot be read, OSError when it cannot be kept."""

    def load(self, name: str) -> Rotation | None:
        """The last rotation of this entry."""

    def all(self) -> Sequence[Rotation]:
        """Every last rotation."""

    def save(self, rotation: Rotation) -> None:
        """Keep it, whole or not at all."""


class KeyTable(Protocol):
    """The KeyTable; a file today. Raises TableError, and OSError when it cannot be written."""

    async def view(self) -> KeyTableView:
        """What it says now."""

    async def point(self, name: str, old: KeyPlace, new: KeyPlace) -> None:
        """Point an entry to another key, whole or not at all; nothing happens when it is so already."""


class PrivateKeys(Protocol):
    """Private keys by the path that the KeyTable writes. Raises PrivateKeyError and OSError."""

    def made_s(self, path: str) -> float | None:
        """Unix time of the file's last change; None without a file that can be read."""

    def exists(self, path: str) -> bool:
        """Whether anything is there."""

    def load(self, path: str) -> PrivateKey | None:
        """The key; None without a file."""

    def create(self, path: str, key: PrivateKey, like: str) -> None:
        """Keep a new key, whole or not at all, with the owner of the file `like`; the path has to be free."""

    def delete(self, path: str) -> None:
        """Delete a key, if it is there."""


class NameServers(Protocol):
    """The authoritative servers of a name's zone. Raises LookupFailed when they cannot be found."""

    async def ask(self, name: str) -> Answers:
        """What each of them has as TXT record of this name."""


class Publisher(Protocol):
    """Tells DNS. Raises RotationError and OSError."""

    async def publish(self, domain: str, name: str, record: str) -> str:
        """The name gets this TXT record and no other; gives what is to be kept in the audit log."""

    async def revoke(self, domain: str, name: str, record: str) -> str:
        """The same with the record of a revoked key."""

    async def remove(self, domain: str, name: str) -> str:
        """The name has no TXT record any more."""


class Audit(Protocol):
    """Who did what when; never a secret. Raises OSError: what cannot be told is not done."""

    def tell(self, event: str, rotation: Rotation, step: str, text: str = "") -> None:
        """Add one line."""
