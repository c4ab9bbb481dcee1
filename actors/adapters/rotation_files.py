"""What DKIM key rotation keeps in files: states, private keys, the KeyTable, zone fragments, the audit log, a lock.

A file is replaced whole: written beside it under a name that is always the same (so that what a killed run leaves is
overwritten by the next), synced, renamed, and the directory synced. Its mode and owner stay those of the file before.
"""

import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec

from actors.adapters.dkim_files import KeyFiles
from actors.dkim.rotation.key_table import KeyTableView, pointed_to
from actors.dkim.rotation.ports import RotationError
from actors.dkim.rotation.state import KeyPlace, Rotation
from actors.dkim.signing.options import KEY_BITS_MIN
from actors.dkim.signing.private_key import PrivateKey
from actors.dkim.signing.tables import Entry, TableError, parse_entries
from actors.ports import Clock

_KEY_MODE = 0o600
"""Of a new key without an old one to take after."""
_SAFE_KEY_MODE = 0o640
"""What a new key may have of the mode of the old one."""
_SHARED_KEY_MODE = 0o644
"""The same where require_safe_keys is off: who reads the old key as one of the others has to read the new one."""
_TABLE_MODE = 0o664
_STATE_MODE = 0o640
_DIRECTORY_MODE = 0o750


def replace_file(path: Path, content: bytes, mode: int, like: Path | None = None, before: bytes | None = None) -> None:
    """Write a file whole or not at all; mode (what `mode` allows of it) and owner are those of `like`, if it is there.

    Raises OSError, and RotationError when the file is not `before` any more: somebody else has just saved it.
    """
    path = path.resolve()  # A link stays a link.
    beside = _beside(path)
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        _write_all(descriptor, content)
        _take_after(descriptor, mode, like)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if before is not None and path.read_bytes() != before:
        raise RotationError(f"{path}: somebody has just changed it: run it again")
    beside.rename(path)
    _sync_directory(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write_all(descriptor: int, content: bytes) -> None:
    written = 0
    while written < len(content):
        written += os.write(descriptor, content[written:])


def _take_after(descriptor: int, mode: int, like: Path | None) -> None:
    try:
        before = like.stat() if like else None
    except FileNotFoundError:
        before = None
    if before is None:
        os.fchmod(descriptor, mode & 0o644)
        return
    ours = os.fstat(descriptor)
    if (before.st_uid, before.st_gid) != (ours.st_uid, ours.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & mode)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StateFiles:
    """States: one JSON file for each entry, read once. Whoever saves holds the lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, Rotation] | None = None

    def load(self, name: str) -> Rotation | None:
        """The last rotation of this entry."""
        return self._all().get(name.lower())

    def all(self) -> Sequence[Rotation]:
        """Every last rotation."""
        return list(self._all().values())

    def save(self, rotation: Rotation) -> None:
        """Keep it."""
        known = self._all()
        path = self._directory / f"{quote(rotation.name.lower(), safe='@')}.json"
        replace_file(path, msgspec.json.format(msgspec.json.encode(rotation)) + b"\n", _STATE_MODE)
        known[rotation.name.lower()] = rotation

    def _all(self) -> dict[str, Rotation]:
        if self._read is None:
            try:
                names = sorted(os.listdir(self._directory))  # noqa: PTH208  pathlib's glob hides what it may not read
            except FileNotFoundError:
                names = []
            found = (_state(self._directory / name) for name in names if name.endswith(".json") and name[0] != ".")
            self._read = {rotation.name.lower(): rotation for rotation in found}
        return self._read


def _state(path: Path) -> Rotation:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Rotation)
    except msgspec.DecodeError as error:
        raise RotationError(f"{path}: {error}: restore it; without it nobody knows which key is to go") from error


class PrivateKeyFiles:
    """PrivateKeys in files."""

    def __init__(self, bits_min: int = KEY_BITS_MIN, *, require_safe: bool = True) -> None:
        self._files = KeyFiles(bits_min, require_safe=require_safe)
        self._mode = _SAFE_KEY_MODE if require_safe else _SHARED_KEY_MODE

    def made_s(self, path: str) -> float | None:
        """Unix time of the file's last change."""
        try:
            return Path(path).stat().st_mtime
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether anything is there."""
        return os.path.lexists(path)

    def load(self, path: str) -> PrivateKey | None:
        """The key."""
        return self._files.read(Path(path)) if Path(path).exists() else None

    def create(self, path: str, key: PrivateKey, like: str) -> None:
        """Keep a new key."""
        old = Path(like)
        replace_file(Path(path), key.pem(), self._mode if old.exists() else _KEY_MODE, old)

    def delete(self, path: str) -> None:
        """Delete a key, and what a run that was killed has begun of it."""
        for file in (Path(path), _beside(Path(path))):
            file.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            _sync_directory(Path(path).parent)


class KeyTableFile:
    """A KeyTable in a file (file: or refile:), read again when it has changed."""

    def __init__(self, path: Path, seal_key: str = "") -> None:
        """`seal_key` is the setting of [dkim.signing]: one more user of a record and a key."""
        self._path = path
        self._beside = [Entry("seal_key", seal_key)] if seal_key else []
        self._kept: tuple[tuple[int, ...], KeyTableView] | None = None

    @classmethod
    def of_setting(cls, setting: str, seal_key: str) -> "KeyTableFile":
        """That of [dkim.signing] key_table, with `seal_key` beside it. Raises TableError when it is no file."""
        kind, colon, rest = setting.partition(":")
        if colon and kind in ("file", "refile"):
            return cls(Path(rest.strip()), seal_key)
        if setting.startswith("/"):
            return cls(Path(setting), seal_key)
        raise TableError("[dkim.signing] key_table is not file:PATH or refile:PATH: only those are rotated")

    async def view(self) -> KeyTableView:
        """What it says now."""
        try:
            status = self._path.stat()
            state = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if self._kept is None or self._kept[0] != state:
                entries = parse_entries(self._text(), str(self._path))
                self._kept = state, KeyTableView(entries, self._beside, os.path.realpath)
        except OSError as error:
            raise TableError(f"{self._path}: {error.strerror}") from error
        return self._kept[1]

    async def point(self, name: str, old: KeyPlace, new: KeyPlace) -> None:
        """Point an entry to another key."""
        before = self._text()
        after = pointed_to(before, name, old, new)
        if after != before:
            replace_file(self._path, after.encode(), _TABLE_MODE, self._path, before.encode())

    def _text(self) -> str:
        try:
            return self._path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise TableError(f"{self._path}: {error}") from error


class AuditLog:
    """An Audit: JSON lines in a file that is only appended to."""

    def __init__(self, path: Path, who: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._who = {"user": who, "host": socket.gethostname(), "pid": os.getpid()}

    def tell(self, event: str, rotation: Rotation, step: str, text: str = "") -> None:
        """Add one line."""
        line = {
            "time": datetime.fromtimestamp(self._clock.unix_s(), UTC).isoformat(timespec="seconds"),
            **self._who,
            "event": event,
            "step": step,
            "name": rotation.name,
            "domain": rotation.domain,
            "old": rotation.old.selector,
            "new": rotation.new.selector,
            "phase": rotation.phase,
            "text": text,
        }
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _STATE_MODE)
        try:
            size = os.fstat(descriptor).st_size
            # The line of a run that was killed in its middle ends here.
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write_all(descriptor, b"\n" * torn + json.dumps(line).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Holds the lock of the state directory (made here), which ends with the process.

    Raises RotationError when another has it.
    """
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    path = directory / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _STATE_MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise RotationError(f"another run is at work (process {holder}): {path}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
