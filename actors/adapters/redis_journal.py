"""The journal of learning in Redis or Valkey (6.2+), one server, Sentinels' primary or Cluster.

Keys; all share a hash tag, the version of the features, so one script may use several and a Cluster has them together:

    tamis:learn:{N}:examples            stream   what waits to be learnt
    tamis:learn:{N}:waiting             number   bytes of these
    tamis:learn:{N}:begun               hash     example -> trainers that have begun with it, the last one's name
    tamis:learn:{N}:deltas              stream   NUMBER-0: a delta and its chain
    tamis:learn:{N}:end                 string   position: number and chain of the last delta
    tamis:learn:{N}:base                string   position from which the deltas are there
    tamis:learn:{N}:layers              hash     layer -> its bytes, at `base` or later
    tamis:learn:{N}:mark:LAYER:DIGEST   string   what the layer has learnt from that message; expires
    tamis:learn:{N}:asked:LAYER:DIGEST  string   the label that was last asked for; expires
    tamis:learn:{N}:spent:DAY:SOURCE    hash     examples, shift; expires
    tamis:learn:{N}:trainer             string   the holder of the lease; expires

Strategy: each change is one script, so it happens whole or not at all, and a script that writes for a trainer looks
first whether that trainer stands at `end`. With `appendonly yes` nothing that was answered is lost when the server is
killed; a replica that takes over without the last writes is noticed by the chain.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError

from actors.adapters.redis_client import Client, redis_client
from actors.classifier.learning.bounds import Bounds, Refusal, Spent
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.delta import BEGINNING, DELTA_BYTES_MAX, Position
from actors.classifier.learning.journal import JournalAway, Numbered, Receipt, Subject, Waiting
from actors.classifier.learning.lesson import Lesson, Mark
from actors.config import RedisConfig

_DELTAS_MAX: Final = 100
"""Read at once."""
_SPENT_S: Final = 2 * 86_400
_MARK_BYTES_MAX: Final = 64

_SUBMIT: Final = """
if redis.call('GET', KEYS[4]) == ARGV[2] then return 'known' end
local spent = redis.call('HMGET', KEYS[3], 'examples', 'shift')
if tonumber(spent[1] or '0') >= tonumber(ARGV[3]) then return 'too_many' end
if tonumber(spent[2] or '0') >= tonumber(ARGV[4]) then return 'too_much' end
local waiting = tonumber(redis.call('GET', KEYS[2]) or '0') + #ARGV[1]
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[5]) or waiting > tonumber(ARGV[6]) then return 'backlog' end
redis.call('XADD', KEYS[1], '*', 'e', ARGV[1])
redis.call('SET', KEYS[2], string.format('%.0f', waiting))
redis.call('HINCRBY', KEYS[3], 'examples', 1)
redis.call('EXPIRE', KEYS[3], ARGV[7])
redis.call('SET', KEYS[4], ARGV[2], 'EX', ARGV[8])
return 'accepted'
"""
"""KEYS examples, waiting, spent, asked; ARGV payload, label, examples and shift a day, examples and bytes that may
wait, life of spent and asked."""

_HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_OLDEST: Final = """
local rows = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if #rows == 0 then return {} end
local id = rows[1][1]
local count, holder = string.match(redis.call('HGET', KEYS[2], id) or '', '^(%d+) (%w*)$')
if holder ~= ARGV[1] then
  count = (count or 0) + 1
  redis.call('HSET', KEYS[2], id, string.format('%.0f %s', count, ARGV[1]))
end
return {id, rows[1][2][2], tonumber(count)}
"""

_COMMIT: Final = """
if (redis.call('GET', KEYS[2]) or '0 ') ~= ARGV[2] then return 0 end
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 0 end
if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[3], ARGV[4] .. '-0', 'd', ARGV[5], 'c', ARGV[6])
  redis.call('SET', KEYS[2], ARGV[3])
end
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('SET', KEYS[5], string.format('%.0f', math.max(0, tonumber(redis.call('GET', KEYS[5]) or '0') - ARGV[7])))
if ARGV[8] ~= '0' then
  redis.call('HINCRBYFLOAT', KEYS[6], 'shift', ARGV[8])
  redis.call('EXPIRE', KEYS[6], ARGV[9])
end
if ARGV[10] == '1' then redis.call('DEL', KEYS[7]) end
for i = 8, #KEYS do
  local mark = ARGV[i + 4]
  if mark == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], mark, 'EX', ARGV[11]) end
end
return 1
"""
"""KEYS examples, end, deltas, begun, waiting, spent, asked, marks...; ARGV id, end expected, new end (empty: no delta),
number, delta, chain, bytes of the example, shift, life of spent, 1 = may be asked again, life of marks, marks..."""

_KEEP: Final = """
if (redis.call('GET', KEYS[2]) or '0 ') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""

_REBASE: Final = """
if (redis.call('GET', KEYS[2]) or '0 ') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('XTRIM', KEYS[3], 'MINID', ARGV[2])
for i = 3, #ARGV do redis.call('HDEL', KEYS[4], ARGV[i]) end
return 1
"""

_Answer = TypeVar("_Answer")


class RedisJournal:
    """The journal of one version of the features; connects when first asked."""

    def __init__(
        self, config: RedisConfig, learning: LearningConfig, features_version: int, client: Client | None = None
    ) -> None:
        """`config.url` must be set. Raises ValueError when it is no Redis URL."""
        self._timeout_s = config.timeout_s
        self._learning = learning
        self._prefix = f"tamis:learn:{{{features_version}}}"
        self._redis: Any = client or redis_client(config)

    async def submit(self, payload: bytes, subject: Subject, bounds: Bounds) -> Receipt | Refusal:
        """Take an example, unless the same was asked last, or the bounds of its source and day are reached."""
        keys = [*self._keys("examples", "waiting"), self._spent_key(subject), self._asked_key(subject)]
        learning = self._learning
        bound = [bounds.examples, bounds.shift, learning.waiting_max, learning.waiting_mb << 20]
        answer = await self._run(_SUBMIT, keys, [payload, subject.label, *bound, _SPENT_S, self._remember_s])
        word = answer.decode()
        return Receipt(word) if word in list(Receipt) else Refusal(word)

    async def hold(self, holder: str, for_s: float) -> bool:
        """Become the trainer, or stay it, for so long; False while another one is."""
        return bool(await self._run(_HOLD, self._keys("trainer"), [holder, round(for_s * 1000)]))

    async def oldest(self, holder: str) -> Waiting | None:
        """The example that is to be learnt next."""
        answer = await self._run(_OLDEST, self._keys("examples", "begun"), [holder])
        return Waiting(answer[0].decode(), answer[1], answer[2]) if answer else None

    async def known(self, subject: Subject) -> tuple[Mapping[str, Mark], Spent]:
        """What its layers have learnt from this message before, and what its source has spent on that day."""
        pipeline = self._redis.pipeline(transaction=False)
        for layer in subject.layers:
            pipeline.get(self._mark_key(layer, subject))
        pipeline.hmget(self._spent_key(subject), ["examples", "shift"])
        *marks, (examples, shift) = await self._asked(pipeline.execute())
        known = {layer: _mark(mark) for layer, mark in zip(subject.layers, marks, strict=True)}
        spent = Spent(int(_number(examples)), _number(shift))
        return {layer: mark for layer, mark in known.items() if mark is not None}, spent

    async def commit(self, waiting: Waiting, subject: Subject | None, lesson: Lesson, at: Position) -> bool:
        """Write down what came of an example, all of it or nothing; False: nothing was written."""
        keys = self._keys("examples", "end", "deltas", "begun", "waiting")
        after = at.after(lesson.delta)
        new = [after.to_text(), after.number, lesson.delta, after.chain] if lesson.delta else ["", "", "", ""]
        marks: list[str] = []
        if subject is not None:
            keys += [self._spent_key(subject), self._asked_key(subject)]
            keys += [self._mark_key(layer, subject) for layer in lesson.marks]
            marks = [mark.to_text() if mark is not None else "" for mark in lesson.marks.values()]
        else:
            keys += self._keys("nothing", "nothing")
        again = subject is not None and lesson.refusal is not None
        rest = [len(waiting.payload), lesson.shift or 0, _SPENT_S, int(again), self._remember_s]
        return bool(await self._run(_COMMIT, keys, [waiting.id, at.to_text(), *new, *rest, *marks]))

    async def end(self) -> Position:
        """Where the last delta has led."""
        return _position(await self._asked(self._redis.get(*self._keys("end"))))

    async def deltas(self, after: int) -> Sequence[Numbered]:
        """Some of those behind this number, in order; one that is none ends them."""
        (key,) = self._keys("deltas")
        rows = await self._asked(self._redis.xrange(key, f"{after + 1}-0", "+", count=_DELTAS_MAX))
        found = []
        for row, fields in rows:
            number, payload, chain = row.partition(b"-")[0], fields.get(b"d", b""), fields.get(b"c", b"")
            if len(payload) > DELTA_BYTES_MAX or len(chain) > 64:
                break
            found.append(Numbered(int(number), chain.decode("ascii", "replace"), payload))
        return found

    async def base(self) -> Position:
        """The position from which the deltas are still there."""
        return _position(await self._asked(self._redis.get(*self._keys("base"))))

    async def snapshots(self) -> AsyncIterator[tuple[str, bytes]]:
        """(layer, its bytes), one by one."""
        (key,) = self._keys("layers")
        for name in await self._asked(self._redis.hkeys(key)):
            data = await self._asked(self._redis.hget(key, name))
            if data is not None:
                yield name.decode("utf-8", "replace"), data

    async def keep(self, layer: str, snapshot: bytes, at: Position) -> bool:
        """Replace the snapshot of a layer; False when `at` is not the end of the deltas."""
        return bool(await self._run(_KEEP, self._keys("layers", "end"), [layer, snapshot, at.to_text()]))

    async def rebase(self, at: Position, layers: Sequence[str]) -> bool:
        """Drop the deltas up to `at`; False when `at` is not the end of the deltas."""
        keys = self._keys("base", "end", "deltas", "layers")
        there = await self._asked(self._redis.hkeys(keys[3]))
        gone = set(there) - {layer.encode() for layer in layers}
        return bool(await self._run(_REBASE, keys, [at.to_text(), f"{at.number + 1}-0", *sorted(gone)]))

    async def close(self) -> None:
        """Give back connections."""
        await self._redis.aclose()

    @property
    def _remember_s(self) -> int:
        return self._learning.remember_days * 86_400

    def _keys(self, *names: str) -> list[str]:
        return [f"{self._prefix}:{name}" for name in names]

    def _mark_key(self, layer: str, subject: Subject) -> str:
        return f"{self._prefix}:mark:{layer}:{subject.digest}"

    def _asked_key(self, subject: Subject) -> str:
        return f"{self._prefix}:asked:{subject.layers[0]}:{subject.digest}"

    def _spent_key(self, subject: Subject) -> str:
        # As a digest: it may be a person's address.
        source = hashlib.blake2b(subject.source.encode(), digest_size=16).hexdigest()
        return f"{self._prefix}:spent:{subject.day}:{source}"

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self._asked(self._redis.eval(script, len(keys), *keys, *arguments))

    async def _asked(self, answer: Awaitable[_Answer]) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except (RedisError, OSError, TimeoutError) as error:
            # The text of the error may hold the URL with its password.
            raise JournalAway(type(error).__name__) from error


def _position(value: bytes | None) -> Position:
    """What is damaged reads as the beginning: then everything is read anew, and nothing is trained."""
    try:
        return Position.from_text(value.decode("ascii")) if value else BEGINNING
    except ValueError:
        return BEGINNING


def _mark(value: bytes | None) -> Mark | None:
    """None also for what is no mark."""
    try:
        return Mark.from_text(value.decode("ascii")) if value is not None and len(value) <= _MARK_BYTES_MAX else None
    except ValueError:
        return None


def _number(value: bytes | None) -> float:
    try:
        return float(value or 0)
    except ValueError:
        return 0.0
