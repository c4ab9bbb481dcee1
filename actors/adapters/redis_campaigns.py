"""The CampaignStore port over Redis or Valkey (6.2+): keys that expire, each of one campaign.

All keys of a scope share their hash tag, so a Cluster keeps them together and one script sees them all:

    PREFIX:campaign:VERSION:{SCOPE}:k BYTES  string   id of the campaign that was reported last with this key
    PREFIX:campaign:VERSION:{SCOPE}:c ID     hash     s signature, e exact digest, k its keys, w the length of each,
                                                      f first and l last report (Unix time)
    PREFIX:campaign:VERSION:{SCOPE}:r ID     set      digests of the messages that were reported
    PREFIX:campaign:VERSION:{SCOPE}:i        zset     ids by their last report

A message is one script, so one round trip: the campaigns that have most keys in common with it come back whole. A
report writes all keys of its campaign anew, and so they expire together; when there are too many campaigns the one
that nobody has reported for longest goes first. What comes back is checked before it is believed.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from actors.adapters.redis_client import Client
from actors.adapters.redis_pipelines import RedisPipelines
from actors.classifier.campaigns.campaign import ID_CHARS, Campaign, Fingerprint
from actors.classifier.campaigns.config import CampaignConfig
from actors.classifier.campaigns.fingerprint import VERSION
from actors.config import RedisConfig

CANDIDATES_MAX: Final = 4
"""Campaigns that one message is compared with: those with most keys in common."""
REPORTS_MAX: Final = 1000
"""Reports of a campaign that are told apart; it has no more than these."""
DAY_S: Final = 86_400
_AT_ONCE: Final = 200
"""Campaigns that one script reads or removes: Redis does nothing else while it runs."""

_KEYS: Final = """
local function keys_of(prefix, joined, width)
  local keys = {}
  for from = 1, #joined, tonumber(width) do
    keys[#keys + 1] = prefix .. 'k' .. string.sub(joined, from, from + width - 1)
  end
  return keys
end
"""
"""The keys of a fingerprint travel as one argument: packing 43 costs our side twice as much as comparing them."""
_RECORD: Final = """
local function record(prefix, id)
  local c = redis.call('HMGET', prefix .. 'c' .. id, 's', 'e', 'f', 'l')
  return {id, c[1], c[2], c[3], c[4], redis.call('SCARD', prefix .. 'r' .. id)}
end
"""
_REMOVE_ONE: Final = """
local function remove(prefix, id)
  local c = redis.call('HMGET', prefix .. 'c' .. id, 'k', 'w')
  for _, key in ipairs(c[1] and keys_of(prefix, c[1], c[2]) or {}) do
    if redis.call('GET', key) == id then redis.call('DEL', key) end
  end
  redis.call('ZREM', prefix .. 'i', id)
  redis.call('DEL', prefix .. 'r' .. id)
  return redis.call('DEL', prefix .. 'c' .. id)
end
"""
_NEAR: Final = (
    _KEYS
    + _RECORD
    + """
local found, common = {}, {}
for _, id in ipairs(redis.call('MGET', unpack(keys_of(ARGV[1], ARGV[2], ARGV[3])))) do
  if id then
    if not common[id] then
      found[#found + 1] = id
      common[id] = 0
    end
    common[id] = common[id] + 1
  end
end
table.sort(found, function(a, b) return common[a] > common[b] end)
local answer = {}
for i = 1, math.min(#found, tonumber(ARGV[4])) do answer[i] = record(ARGV[1], found[i]) end
return answer
"""
)
_REPORT: Final = (
    _KEYS
    + _REMOVE_ONE
    + """
local prefix, joined, width, id, signature, exact, now, ttl, message, reports_max, campaigns_max = unpack(ARGV)
local c, r, i = prefix .. 'c' .. id, prefix .. 'r' .. id, prefix .. 'i'
redis.call('ZREMRANGEBYSCORE', i, '-inf', now - ttl)
if redis.call('EXISTS', c) == 0 then
  while redis.call('ZCARD', i) >= tonumber(campaigns_max) do
    remove(prefix, redis.call('ZRANGE', i, 0, 0)[1])
  end
end
redis.call('HSETNX', c, 'f', now)
redis.call('HSET', c, 'k', joined, 'w', width, 's', signature, 'e', exact, 'l', now)
redis.call('EXPIRE', c, ttl)
if redis.call('SCARD', r) < tonumber(reports_max) then redis.call('SADD', r, message) end
redis.call('EXPIRE', r, ttl)
for _, key in ipairs(keys_of(prefix, joined, width)) do redis.call('SET', key, id, 'EX', ttl) end
redis.call('ZADD', i, now, id)
redis.call('EXPIRE', i, ttl)
return redis.call('SCARD', r)
"""
)
_REMOVE: Final = (
    _KEYS
    + _REMOVE_ONE
    + """
local removed = 0
for i = 2, #ARGV do removed = removed + remove(ARGV[1], ARGV[i]) end
return removed
"""
)
_RECORDS: Final = (
    _RECORD
    + """
local answer = {}
for i = 2, #ARGV do answer[i - 1] = record(ARGV[1], ARGV[i]) end
return answer
"""
)


class RedisCampaigns:
    """Campaigns in the server, the Sentinels' primary or the Cluster of a URL; connects when first asked."""

    def __init__(self, config: RedisConfig, campaigns: CampaignConfig, client: Client | None = None) -> None:
        """`config.url` and `campaigns.redis_prefix` must be set. Raises ValueError when it is no Redis URL."""
        self._redis = RedisPipelines(config, client)
        self._config = campaigns

    async def near(self, scope: str, mark: Fingerprint) -> Sequence[Campaign]:
        """Those that have most keys in common with it, CANDIDATES_MAX at most. One round trip."""
        return list(_campaigns(await self._run(scope, _NEAR, *_keys(mark), CANDIDATES_MAX)))

    async def report(self, scope: str, campaign: Campaign, message: bytes) -> int:
        """Keep a campaign, as told at its `last_s`, with a message by its digest; how many messages it has then."""
        mark, config = campaign.fingerprint, self._config
        kept = *_keys(mark), campaign.id, mark.signature, mark.exact, round(campaign.last_s)
        bounds = config.expire_days * DAY_S, message, REPORTS_MAX, config.campaigns_max
        return int(await self._run(scope, _REPORT, *kept, *bounds))

    async def remove(self, scope: str, ids: Sequence[str]) -> int:
        """Forget these; how many of them there were."""
        return sum([await self._run(scope, _REMOVE, *some) for some in _cut(ids)])

    async def recent(self, scope: str, count: int) -> Sequence[Campaign]:
        """So many at most, the one that was reported last first."""
        index = self._prefix(scope) + b"i"
        (ids,) = await self._redis.ask([lambda pipeline: pipeline.zrevrange(index, 0, count - 1)])
        records = [await self._run(scope, _RECORDS, *some) for some in _cut(ids)]
        return [campaign for some in records for campaign in _campaigns(some)]

    async def close(self) -> None:
        """Give back connections."""
        await self._redis.close()

    def _prefix(self, scope: str) -> bytes:
        return f"{self._config.redis_prefix}:campaign:{VERSION}:{{{quote(scope, safe='=')}}}:".encode()

    async def _run(self, scope: str, script: str, *arguments: Any) -> Any:
        """One script in one round trip; its key says to a Cluster where it runs."""
        prefix = self._prefix(scope)
        (answer,) = await self._redis.ask(
            [lambda pipeline: pipeline.eval(script, 1, prefix + b"i", prefix, *arguments)]
        )
        return answer


def _keys(mark: Fingerprint) -> tuple[bytes, int]:
    """(the keys in one, the length of each)."""
    keys = mark.keys
    return b"".join(keys), len(keys[0])


def _campaigns(records: Iterable[Any]) -> Iterator[Campaign]:
    """The sound ones: what is gone or was written by others is passed over."""
    for record in records:
        try:
            campaign_id, signature, exact, first_s, last_s, reports = record
            campaign = Campaign(
                bytes(campaign_id).decode("ascii"),
                Fingerprint(bytes(signature), bytes(exact)),
                int(reports),
                float(first_s),
                float(last_s),
            )
        except (TypeError, ValueError):
            continue
        if len(campaign.id) == ID_CHARS and campaign.fingerprint.sound and math.isfinite(campaign.last_s):
            yield campaign


def _cut(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(ids), _AT_ONCE):
        yield ids[first : first + _AT_ONCE]
