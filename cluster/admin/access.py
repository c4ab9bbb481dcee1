"""Who may call the admin service: tokens, their roles, and a bound on wrong ones.

Strategy: the file on the server holds names, roles and SHA-256 sums, so that it gives nobody a token; a token is 32
random bytes or more, which no rate of guessing finds, so a plain sum is enough and a good token is taken however many
wrong ones came before: nobody can lock an operator out. The file is read anew when it changes; while it cannot be
used, nobody is let in.
"""

import enum
import hashlib
import hmac
import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

TOKEN_CHARS_MIN = 32
TOKEN_CHARS_MAX = 512
TOKENS_MAX = 1000
_FILE_BYTES_MAX = 1 << 20
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""RFC 6750 section 2.1: b64token."""
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_SUM = re.compile(r"[0-9a-f]{64}")
_BURST = 5
_REFILL_EVERY_S = 10.0
_HOSTS_MAX = 10_000


class TokensError(Exception):
    """A file of tokens cannot be used; the text is one line and holds nothing of the file."""


class Role(enum.IntEnum):
    """What a token allows; a higher role may do what a lower one may."""

    VIEWER = 1
    TEACHER = 2
    """Has the classifier learn, for users, tenants and traps: for IMAP servers and the like."""
    OPERATOR = 3


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose token it is."""

    name: str
    role: Role
    token_sum: str
    """SHA-256 of the token, hexadecimal."""


def token_sum(token: str) -> str:
    """What the server keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_token(text: str) -> bool:
    """Whether it has the form of a token."""
    return TOKEN_CHARS_MIN <= len(text) <= TOKEN_CHARS_MAX and _TOKEN.fullmatch(text) is not None


def parse_tokens(text: str) -> tuple[Principal, ...]:
    """The lines `NAME ROLE SHA256`; empty ones and those that begin with # do not count. Raises TokensError."""
    if len(text) > _FILE_BYTES_MAX:
        raise TokensError("it is above 1 MiB")
    principals: list[Principal] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3:
            raise TokensError(f"line {number}: not NAME ROLE SHA256")
        name, role, its_sum = words
        if not _NAME.fullmatch(name):
            raise TokensError(f"line {number}: the name is not 1 to 64 of letters, digits and ._@-")
        if role not in ("viewer", "teacher", "operator"):
            raise TokensError(f"line {number}: the role is neither viewer, teacher nor operator")
        if not _SUM.fullmatch(its_sum):
            raise TokensError(f"line {number}: the sum is not 64 hexadecimal digits in lower case")
        principals.append(Principal(name, Role[role.upper()], its_sum))
    if not principals:
        raise TokensError("it names nobody")
    if len(principals) > TOKENS_MAX:
        raise TokensError(f"it names more than {TOKENS_MAX}")
    return tuple(principals)


def read_tokens(path: Path) -> tuple[Principal, ...]:
    """The file's content. Raises TokensError, which names the file."""
    try:
        with path.open("rb") as file:
            return parse_tokens(file.read(_FILE_BYTES_MAX + 1).decode("ascii"))
    except OSError as error:
        raise TokensError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TokensError(f"{path}: it is not ASCII") from None
    except TokensError as error:
        raise TokensError(f"{path}: {error}") from None


class Keyring:
    """The file of tokens, as it is now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._principals: tuple[Principal, ...] = ()

    def whose(self, token: str) -> Principal | None:
        """Whose token it is; None when it is nobody's or the file cannot be used."""
        self._refresh()
        given = token_sum(token)
        found: Principal | None = None
        # All are compared, each in constant time: how long it takes tells nothing of which came close.
        for principal in self._principals:
            if hmac.compare_digest(principal.token_sum, given):
                found = principal
        return found

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = (0, 0, 0)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._principals = read_tokens(self._path)
        except TokensError as error:
            self._principals = ()
            log.error("admin_tokens_refused why=%s", error)  # noqa: TRY400 - its text says all
        else:
            log.info("admin_tokens_taken file=%s tokens=%d", self._path, len(self._principals))


class Attempts:
    """How many wrong tokens of one address are explained and logged: five, then one in ten seconds."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By host: attempts left, and when that was so; the longest unheard of goes first."""

    def failed(self, host: str) -> bool:
        """Count one; False when it is one too many."""
        now_s = self._monotonic_s()
        left, since_s = self._left.pop(host, (float(_BURST), now_s))
        left = min(float(_BURST), left + (now_s - since_s) / _REFILL_EVERY_S)
        allowed = left >= 1.0
        self._left[host] = (left - 1.0 if allowed else left, now_s)
        if len(self._left) > _HOSTS_MAX:
            self._left.popitem(last=False)
        return allowed
