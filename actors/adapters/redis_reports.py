"""The ReportStore port over Redis or Valkey (6.2+): hashes of rows with their counts, all of which expire.

Keys, by UTC day and Policy Domain; those of one script share their hash tag, so a Cluster may have them anywhere:

    tamis:dmarc:1:{DAY}:domains          set      the domains of the day
    tamis:dmarc:1:{DAY}:bytes            number   what the day takes, about
    tamis:dmarc:1:{DAY}:run              string   who sends the reports of the day just now
    tamis:dmarc:1:{seen}:{MINUTE}        set      ids of the transactions that were counted in that minute
    tamis:dmarc:1:{DAY/DOMAIN}:rows      hash     row (JSON) -> messages
    tamis:dmarc:1:{DAY/DOMAIN}:about     hash     published (JSON), dropped
    tamis:dmarc:1:{DAY/DOMAIN}:sent      hash     address -> Unix time

Two scripts keep the bounds: a domain is taken while the day has room, a row while the day and its domain have. What is
there already is always counted on. All domains of a call travel together: three round trips, whatever their number.
An id counts again after one to two minutes, far longer than a gateway goes on telling a transaction to others.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from actors.adapters.redis_client import Client, redis_client
from actors.config import RedisConfig
from actors.ports import StoreUnavailable
from actors.reports.config import DmarcReportConfig
from actors.reports.row import Counts, Published, Row

_PREFIX = "tamis:dmarc:1"
_CLAIMED_S = 60
_SCRIPTS_MAX = 200
"""In one pipeline."""
_WORDS_MAX = 1000
"""Domains, or rows with their counts, in one script: Redis does nothing else while it runs."""

_ADMIT = """
local used, max = tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[1])
local answer = {0}
for i = 3, #ARGV do
  local known = redis.call('SISMEMBER', KEYS[1], ARGV[i])
  if known == 0 and used < max then
    redis.call('SADD', KEYS[1], ARGV[i])
    used = used + #ARGV[i] + 500
    known = 1
  end
  answer[#answer + 1] = known
end
redis.call('SET', KEYS[2], used)
redis.call('EXPIREAT', KEYS[1], ARGV[2])
redis.call('EXPIREAT', KEYS[2], ARGV[2])
answer[1] = used
return answer
"""
"""500 bytes are about what the keys of a domain take besides its rows."""

_COUNT = """
local rows, rows_max, room = redis.call('HLEN', KEYS[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local bytes, dropped = 0, 0
for i = 5, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  elseif rows < rows_max and bytes < room then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    rows = rows + 1
    bytes = bytes + #ARGV[i] + 50
  else
    dropped = dropped + ARGV[i + 1]
  end
end
redis.call('HSET', KEYS[2], 'published', ARGV[4])
if dropped > 0 then redis.call('HINCRBY', KEYS[2], 'dropped', dropped) end
redis.call('EXPIREAT', KEYS[1], ARGV[1])
redis.call('EXPIREAT', KEYS[2], ARGV[1])
return {dropped, bytes}
"""

_CLAIM = """
local answer = {}
for i = 2, #ARGV do
  if redis.call('SISMEMBER', KEYS[2], ARGV[i]) == 1 then
    answer[i - 1] = 0
  else
    answer[i - 1] = redis.call('SADD', KEYS[1], ARGV[i])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return answer
"""

_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_LET_GO = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1"

_Item = TypeVar("_Item")
_Script = tuple[str, tuple[str, ...], Sequence[Any]]
"""(text, keys, arguments)."""


class RedisReports:
    """Counts in the server, the Sentinels' primary or the Cluster of a URL; connects when first asked."""

    def __init__(self, config: RedisConfig, reports: DmarcReportConfig, client: Client | None = None) -> None:
        """`config.url` must be set. Raises ValueError when it is no Redis URL."""
        self._timeout_s = config.timeout_s
        self._config = reports
        self._redis: Any = client or redis_client(config)

    async def claim(self, transactions: Sequence[bytes]) -> Sequence[bool]:
        """For each of these ids whether it is new since a minute at least; b"" always is."""
        minute = int(time.time()) // _CLAIMED_S
        keys = f"{_PREFIX}:{{seen}}:{minute}", f"{_PREFIX}:{{seen}}:{minute - 1}"
        named = [one for one in transactions if one]
        answers = await self._run([(_CLAIM, keys, [2 * _CLAIMED_S, *some]) for some in _cut(named, _WORDS_MAX)])
        new = chain.from_iterable(answers)
        return [not one or bool(next(new)) for one in transactions]

    async def add(self, day: str, counts: Mapping[str, Counts]) -> int:
        """Add to the counts of a day, by Policy Domain; how many messages found no room."""
        expires = self._expires(day)
        used, admitted = await self._admit(day, list(counts), expires)
        dropped: int = sum(sum(one.rows.values()) for domain, one in counts.items() if domain not in admitted)
        room = max(0, self._config.day_bytes_max - used)
        scripts: list[_Script] = []
        for domain in admitted:
            published = msgspec.json.encode(counts[domain].published)
            keys = _domain_key(day, domain, "rows"), _domain_key(day, domain, "about")
            for some in _cut([*counts[domain].rows.items()], _WORDS_MAX // 2):
                words = [word for row, messages in some for word in (msgspec.json.encode(row), messages)]
                scripts.append((_COUNT, keys, [expires, self._config.rows_max, room, published, *words]))
        answers: list[tuple[int, int]] = await self._run(scripts)
        if new_bytes := sum(answer[1] for answer in answers):
            await self._asked(self._redis.incrby(_day_key(day, "bytes"), new_bytes))
        return dropped + sum(answer[0] for answer in answers)

    async def domains(self, day: str) -> Sequence[str]:
        """The Policy Domains of a day, sorted."""
        found: set[bytes] = set()
        cursor = -1
        while cursor:
            cursor, some = await self._asked(self._redis.sscan(_day_key(day, "domains"), max(cursor, 0), count=1000))
            found.update(some)
        return sorted(domain.decode("utf-8", "replace") for domain in found)

    async def counts(self, day: str, domain: str) -> Counts | None:
        """What was counted on a day about one; None when it is gone, or cannot be read."""
        about = await self._asked(self._redis.hgetall(_domain_key(day, domain, "about")))
        rows: dict[bytes, bytes] = {}
        cursor = -1
        while cursor:
            key = _domain_key(day, domain, "rows")
            cursor, some = await self._asked(self._redis.hscan(key, max(cursor, 0), count=500))
            rows.update(some)
        try:
            return Counts(
                msgspec.json.decode(about[b"published"], type=Published),
                {msgspec.json.decode(row, type=Row): int(messages) for row, messages in rows.items()},
                int(about.get(b"dropped", 0)),
            )
        except (KeyError, ValueError, msgspec.DecodeError):
            return None

    async def sent(self, day: str, domain: str) -> Sequence[str]:
        """The addresses that have this report."""
        return [address.decode() for address in await self._asked(self._redis.hkeys(_domain_key(day, domain, "sent")))]

    async def mark_sent(self, day: str, domain: str, address: str) -> None:
        """This address has it."""
        key = _domain_key(day, domain, "sent")
        await self._asked(self._redis.hset(key, address, round(time.time())))
        await self._asked(self._redis.expireat(key, self._expires(day)))

    async def hold(self, day: str, holder: str, for_s: float) -> bool:
        """Take, or keep, the right to send the reports of a day; False while another holder has it."""
        (held,) = await self._run([(_HOLD, (_day_key(day, "run"),), [holder, round(for_s * 1000)])])
        return bool(held)

    async def let_go(self, day: str, holder: str) -> None:
        """Give that right back."""
        await self._run([(_LET_GO, (_day_key(day, "run"),), [holder])])

    async def close(self) -> None:
        """Give back connections."""
        await self._redis.aclose()

    async def _admit(self, day: str, domains: list[str], expires: int) -> tuple[int, list[str]]:
        """(bytes that the day takes, the domains for which there is room)."""
        keys = _day_key(day, "domains"), _day_key(day, "bytes")
        used, admitted = 0, []
        for some in _cut(domains, _WORDS_MAX):
            (answer,) = await self._run([(_ADMIT, keys, [self._config.day_bytes_max, expires, *some])])
            used = answer[0]
            admitted += [domain for domain, there in zip(some, answer[1:], strict=True) if there]
        return used, admitted

    async def _run(self, scripts: Sequence[_Script]) -> list[Any]:
        """The answers of all scripts, in few round trips."""
        answers: list[Any] = []
        for some in _cut(scripts, _SCRIPTS_MAX):
            pipeline = self._redis.pipeline(transaction=False)
            for text, keys, arguments in some:
                pipeline.eval(text, len(keys), *keys, *arguments)
            answers += await self._asked(pipeline.execute())
        return answers

    async def _asked(self, answer: Awaitable[_Item]) -> _Item:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except (RedisError, OSError, TimeoutError) as error:
            # The text of the error may hold the URL with its password.
            raise StoreUnavailable(type(error).__name__) from error

    def _expires(self, day: str) -> int:
        """Unix time at which all of a day goes."""
        begin = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
        return round((begin + timedelta(days=1 + self._config.keep_days)).timestamp())


def _day_key(day: str, what: str) -> str:
    return f"{_PREFIX}:{{{day}}}:{what}"


def _domain_key(day: str, domain: str, what: str) -> str:
    return f"{_PREFIX}:{{{day}/{domain}}}:{what}"


def _cut(items: Sequence[_Item], length: int) -> Iterator[Sequence[_Item]]:
    for first in range(0, len(items), length):
        yield items[first : first + length]
