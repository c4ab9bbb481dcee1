"""What DKIM signing reads from files: tables, lists, private keys. Also what of it the configuration holds itself.

A setting says which kind of data set it is, as OpenDKIM's do (opendkim(8), DATA SETS). Tables and lists are read into
memory, and again when their file has changed, which dkim_watch.py looks for. The check of a key file's mode looks at
the file that was opened, so that nobody can exchange it in between.
"""

import asyncio
import os
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import SigningRules
from actors.dkim.signing.hosts import HostList
from actors.dkim.signing.options import KEY_BITS_MIN, key_is_path
from actors.dkim.signing.private_key import (
    KEY_BYTES_MAX,
    PrivateKey,
    PrivateKeyError,
    load_private_key,
)
from actors.dkim.signing.tables import (
    Entry,
    NamedTable,
    PatternTable,
    SigningTables,
    TableError,
    parse_entries,
    parse_list,
)

_TABLE_BYTES_MAX = 256 * 1024 * 1024
_KINDS_ELSEWHERE = ("db", "erlang", "ldapi", "lua", "mdb", "memcache", "socket")
KEYS_MAX = 10_000
"""Keys in memory, of 2 kB each, 8 kB once they have signed."""
LOOKED_UP = ("dsn", "http", "https", "ldap", "ldaps", "redis", "sql")
"""Kinds of data sets that a service holds: actors/adapters/dkim_sources.py opens them."""
FileState = tuple[int, ...]
Load = Callable[[str], Awaitable[NamedTable | PatternTable]]
"""Reads the list of a setting whole. Raises TableError."""


def open_table(setting: str, directory: Path = Path()) -> NamedTable | PatternTable:
    """The table of a setting: file:PATH, refile:PATH, csl:LIST, a path that begins with "/", or a list.

    Relative paths are below `directory`. Raises TableError.
    """
    elsewhere = unsupported_kind(setting)
    if elsewhere or is_looked_up(setting):
        elsewhere = elsewhere or setting.partition(":")[0]
        raise TableError(f"data sets of the kind `{elsewhere}:` are not supported")
    kind, colon, rest = setting.partition(":")
    path = file_of(setting, directory)
    if path is not None:
        entries = _read_entries(path)
        return PatternTable(entries) if kind == "refile" else NamedTable(entries)
    return NamedTable(parse_list(rest if kind == "csl" and colon else setting))


class TableFiles:
    """The tables of settings; a file is parsed again when it has changed. For any thread, one at a time."""

    def __init__(self, directory: Path = Path()) -> None:
        """Relative paths are below `directory`."""
        self._directory = directory
        self._kept: dict[str, tuple[FileState | None, NamedTable | PatternTable]] = {}

    def read(self, setting: str) -> NamedTable | PatternTable:
        """`open_table` of a setting. Raises TableError."""
        path = file_of(setting, self._directory)
        # Before it is read: what is written meanwhile is another state the next time.
        state = file_state(path) if path is not None else ()
        kept = self._kept.get(setting)
        if kept is None or state is None or kept[0] != state:
            kept = self._kept[setting] = state, open_table(setting, self._directory)
        return kept[1]


def file_state(path: Path) -> FileState | None:
    """What tells that a file has changed; None for one that is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def unsupported_kind(setting: str) -> str:
    """The kind of a data set that is OpenDKIM's alone, empty for one of ours."""
    kind, colon, _ = setting.partition(":")
    if colon and kind in _KINDS_ELSEWHERE:
        return kind
    # opendkim(8), DATA SETS: what ends so and names no kind is a Berkeley DB.
    return "db" if setting.endswith(".db") and kind not in ("csl", "file", "refile") else ""


def is_looked_up(setting: str) -> bool:
    """Whether a service holds the data set."""
    kind, colon, _ = setting.partition(":")
    return bool(colon) and kind in LOOKED_UP


def file_of(setting: str, directory: Path = Path()) -> Path | None:
    """The file that a setting reads; None when it is no file."""
    kind, colon, rest = setting.partition(":")
    if colon and kind in ("file", "refile"):
        return directory / rest.strip()
    return Path(setting) if setting.startswith("/") else None


def files_of(config: SigningConfig, directory: Path = Path()) -> tuple[Path, ...]:
    """Every file that tables and lists are read from."""
    settings = (
        config.key_table,
        config.signing_table,
        config.internal_hosts,
        config.external_ignore_list,
        config.peer_list,
        config.exempt_domains,
        config.dont_sign_mail_to,
        config.mta,
        config.macro_list,
        config.resign_mail_to,
        config.seal_mail_to,
    )
    return tuple(path for setting in settings if (path := file_of(setting, directory)) is not None)


async def hosts_of(table: NamedTable | PatternTable, setting: str) -> HostList:
    """The list of hosts that a setting means. Raises TableError."""
    entries = await table.entries()
    try:
        # In a thread: each entry is parsed.
        return await asyncio.to_thread(_host_list, entries, with_patterns=isinstance(table, PatternTable))
    except ValueError as error:
        place = setting.partition(":")[0] if is_looked_up(setting) else setting  # It may hold a password.
        raise TableError(f"{place}: {error}") from error


def _host_list(entries: Sequence[Entry], *, with_patterns: bool) -> HostList:
    patterns = [entry.name for entry in entries if with_patterns and "*" in entry.name]
    return HostList((entry.name for entry in entries if not (with_patterns and "*" in entry.name)), patterns)


async def macros_of(table: NamedTable | PatternTable) -> Mapping[str, frozenset[str]]:
    """MacroList: the values that make mail ours, separated by "|", by macro."""
    entries = await table.entries()
    return {
        entry.name.strip("{}"): frozenset(value.strip() for value in entry.value.split("|") if value.strip())
        for entry in entries
    }


def _read_entries(path: Path) -> list[Entry]:
    try:
        if path.stat().st_size > _TABLE_BYTES_MAX:
            raise TableError(f"{path}: longer than {_TABLE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return parse_entries(text, str(path))


class KeyFiles:
    """A KeySource: keys in files of their own, or in the KeyTable itself."""

    def __init__(self, bits_min: int = KEY_BITS_MIN, directory: Path = Path(), *, require_safe: bool = True) -> None:
        """`require_safe` is OpenDKIM's RequireSafeKeys: a key that others can read or write is refused."""
        self._bits_min = bits_min
        self._directory = directory
        self._require_safe = require_safe
        self._kept: OrderedDict[bytes, tuple[FileState, PrivateKey]] = OrderedDict()
        """By the digest of the path or the key's text. That used longest ago first, which goes first."""

    async def key(self, text: str) -> PrivateKey:
        """The key in the file of this path, or the key that `text` is. Raises PrivateKeyError."""
        return self.read(self._directory / text) if key_is_path(text) else self._inline(text)

    def read(self, path: Path) -> PrivateKey:
        """The key in a file. Raises PrivateKeyError, which names the file."""
        text, status = read_secret(path, require_safe=self._require_safe)
        state = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        try:
            return self._loaded(str(path), state, text)
        except PrivateKeyError as error:
            raise PrivateKeyError(f"{path}: {error}") from error

    def _inline(self, text: str) -> PrivateKey:
        return self._loaded(text, (), text.replace("\\n", "\n").encode())

    def _loaded(self, name: str, state: FileState, text: bytes) -> PrivateKey:
        """The key that is kept, else from its text. Several threads come here: each step is one that none can part."""
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=32).digest()
        kept = self._kept.pop(digest, None)
        if kept is None or kept[0] != state:
            kept = state, load_private_key(text, self._bits_min)
        self._kept[digest] = kept
        if len(self._kept) > KEYS_MAX:
            self._kept.popitem(last=False)
        return kept[1]


def read_secret(path: Path, *, require_safe: bool = True) -> tuple[bytes, os.stat_result]:
    """What a file of a key holds, up to KEY_BYTES_MAX and one more. Raises PrivateKeyError, which names the file."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            problem = key_file_problem(status) if require_safe else None
            if problem is None and not stat.S_ISREG(status.st_mode):
                problem = "not a regular file"
            if problem is not None:
                raise PrivateKeyError(f"{path}: {problem}")
            return file.read(KEY_BYTES_MAX + 1), status
    except OSError as error:
        raise PrivateKeyError(f"{path}: {error.strerror}") from error


def _open_at_once(path: str, flags: int) -> int:
    """A pipe without a writer does not hold us."""
    return os.open(path, flags | os.O_NONBLOCK)


def key_file_problem(status: os.stat_result) -> str | None:
    """Why a file of this status is no safe place for a key (RequireSafeKeys); None when it is one.

    Its group may read it when it is one of ours, as OpenDKIM has it.
    """
    if status.st_uid not in (0, os.geteuid()):
        return "key file belongs to another user"
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return "others can read or write this key; chmod 600"
    ours = {os.getegid(), *os.getgroups()}
    if status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) and status.st_gid not in ours:
        return "a group that is not ours can read or write this key; chmod 600"
    return None


async def read_rules(config: SigningConfig, directory: Path = Path(), load: Load | None = None) -> SigningRules:
    """Who is signed for, by the settings; `load` reads lists that are not in files alone. Raises TableError."""

    async def load_file(setting: str) -> NamedTable | PatternTable:
        # In a thread: a long one takes a second.
        return await asyncio.to_thread(open_table, setting, directory)

    load = load or load_file

    async def hosts(setting: str) -> HostList:
        return await hosts_of(await load(setting), setting)

    mtas = await (await load(config.mta)).entries()
    return SigningRules(
        signs="s" in config.mode,
        verifies="v" in config.mode,
        internal_hosts=await hosts(config.internal_hosts),
        external_ignore=await hosts(config.external_ignore_list),
        peers=await hosts(config.peer_list),
        exempt_domains=await load(config.exempt_domains),
        dont_sign_mail_to=await load(config.dont_sign_mail_to),
        mtas=frozenset(entry.name for entry in mtas),
        macros=await macros_of(await load(config.macro_list)),
        sender_headers=config.sender_headers,
        resign_mail_to=await load(config.resign_mail_to),
        resign_all=config.resign_all,
        seal_mail_to=await load(config.seal_mail_to),
    )


def open_tables(config: SigningConfig, directory: Path = Path()) -> SigningTables:
    """Both tables of settings that name files and lists alone. Raises TableError."""
    signing, keys = (open_table(setting, directory) for setting in (config.signing_table, config.key_table))
    return SigningTables(signing, keys, config.multiple_signatures)
