"""DNS over aiodns (c-ares), behind a cache.

`DnsResolver` is the port: it checks names, caches answers for their TTL and lets all who ask the same question at the
same time share one answer. The question in flight belongs to the resolver and not to whoever asked first, so a
cancelled asker takes nothing from the others. `AresNameserver` asks the network.

Nobody waits twice for what is dead. A question that failed is answered with its failure for a while, longer each time
(RFC 9520 section 3.2), and when it is asked again, one question goes out that no message waits for. When nothing is
said about several names below a domain, and neither about the domain itself, as when a list is dead of which every
message asks another name, all questions below it fail at once until something is said; the same for the root.

One resolver per process: c-ares keeps sockets, a thread and an inotify watch per channel (aiodns #175, #191), and a
channel must not survive a fork (#174), so it is made at the first question, in the loop that asks.
"""

import asyncio
import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import aiodns
import pycares

from actors.adapters.breaker import Breaker, Guard
from actors.adapters.names import question_name, reverse_name
from actors.adapters.ttl_cache import TtlCache
from actors.config import DnsConfig
from actors.ports import Clock, LookupFailed, NameNotFound, TxtAnswer

_TTL_MAX_S = 86_400
"""The longest that an answer is kept, whatever its TTL says: how long a mistake of others may stay with us."""
_PAUSE_S = 2.0
_PAUSE_MAX_S = 30.0
"""How long a question that failed is not asked again: the first time, doubled each further time up to the second."""
ANSWER_BYTES_MAX = 8 * 1024
"""A longer answer is used but not kept: no SPF, DKIM or DMARC record needs so much, and one would push out dozens."""
CACHE_BYTES_MAX = 64 * 1024 * 1024
"""Names and records kept, however many entries the configuration allows."""
_RECORD_OVERHEAD_BYTES = 64
_TRIES = 2
_NO_SUCH_NAME = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_EBADNAME})
_SILENCE = frozenset({pycares.errno.ARES_ETIMEOUT, pycares.errno.ARES_ECONNREFUSED, pycares.errno.ARES_ECANCELLED})
_SILENCES_MAX = 5
"""Questions in a row without any answer after which the name servers, or those of a domain, are probed."""
_DOMAINS_MAX = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the network said to one question: records (as the port returns them) or why there are none."""

    records: tuple[object, ...] = ()
    ttl_s: float = 0.0
    missing: NameNotFound | None = None
    failed: LookupFailed | None = None
    unasked: bool = False
    """It failed since nobody could be asked: says nothing about the name."""
    pause_s: float = 0.0
    retry_at_s: float = 0.0
    """Of a failure that is kept: how long, and until when, it is not asked about again."""


class Nameserver(Protocol):
    """The network, as far as the cache sees it."""

    async def ask(self, name: str, kind: str) -> Answer:
        """Ask one question. Raises nothing."""

    async def close(self) -> None:
        """Give back sockets."""


class DnsResolver:
    """The Resolver of production."""

    def __init__(self, config: DnsConfig, clock: Clock, nameserver: Nameserver | None = None) -> None:
        self._nameserver = nameserver or AresNameserver(config)
        self._clock = clock
        self._negative_ttl_s = config.negative_ttl_s
        self._cache: TtlCache[tuple[str, str], Answer] = TtlCache(config.cache_entries, CACHE_BYTES_MAX)
        self._in_flight: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self._from_cache = self._shared = self._questions = self._failed = 0

    def counters(self) -> Mapping[str, int]:
        """How questions were answered: the first of these over the first three is the hit ratio of the cache."""
        return {
            "dns_from_cache": self._from_cache,
            "dns_shared": self._shared,
            "dns_asked": self._questions,
            "dns_failed": self._failed,
        }

    async def txt(self, name: str) -> Sequence[bytes]:
        """TXT records, each with its strings joined."""
        return _texts(await self._records(name, "TXT"))

    async def txt_each(self, names: Sequence[str]) -> Sequence[TxtAnswer]:
        """TXT records of several names: what is known costs no task, the rest is asked before the first wait."""
        begun = [self._begin(name, "TXT") for name in names]
        tasks = {one for one in begun if isinstance(one, asyncio.Task)}
        if tasks:
            await asyncio.wait(tasks)  # it cancels nothing: the questions are the resolver's
        answers = [_result(one) if isinstance(one, asyncio.Task) else one for one in begun]
        return [answer.missing or answer.failed or _texts(answer.records) for answer in answers]

    async def addresses(self, name: str, *, ipv6: bool = False) -> Sequence[str]:
        """A or AAAA records."""
        return [str(record) for record in await self._records(name, "AAAA" if ipv6 else "A")]

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        """(preference, exchange) pairs; the exchange of a null MX (RFC 7505) is "."."""
        return [record for record in await self._records(name, "MX") if isinstance(record, tuple)]

    async def ptr(self, ip: str) -> Sequence[str]:
        """Names of an address."""
        return [str(record) for record in await self._records(reverse_name(ip), "PTR")]

    async def close(self) -> None:
        """Give back sockets; questions in flight end as failures. May be called twice."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._nameserver.close()

    async def _records(self, name: str, kind: str) -> tuple[object, ...]:
        answer = self._begin(name, kind)
        if isinstance(answer, asyncio.Task):
            answer = await _shared(answer)
        if answer.missing is not None:
            raise NameNotFound(name, nxdomain=answer.missing.nxdomain)
        if answer.failed is not None:
            raise LookupFailed(*answer.failed.args)
        return answer.records

    def _begin(self, name: str, kind: str) -> "Answer | asyncio.Task[Answer]":
        """The answer if it is known, else the question under way."""
        try:
            key = (question_name(name), kind)
        except NameNotFound as error:
            return Answer(missing=error)
        now_s = self._clock.monotonic_s()
        answer = self._cache.get(key, now_s)
        if answer is None:
            return self._asked(key)
        if answer.failed is not None and now_s >= answer.retry_at_s:
            self._asked(key, answer.pause_s)
        self._from_cache += 1
        return answer

    def _asked(self, key: tuple[str, str], pause_s: float = 0.0) -> asyncio.Task[Answer]:
        """The question under way, a new one if there is none; `pause_s` is how long it was not asked before."""
        task = self._in_flight.get(key)
        if task is not None:
            self._shared += 1
            return task
        self._questions += 1
        task = self._in_flight[key] = asyncio.create_task(self._ask(key, pause_s))
        return task

    async def _ask(self, key: tuple[str, str], pause_s: float) -> Answer:
        try:
            answer = await self._nameserver.ask(*key)
        finally:
            del self._in_flight[key]
        now_s = self._clock.monotonic_s()
        if answer.failed is not None:
            self._failed += 1
            pause_s = min(max(_PAUSE_S, pause_s * 2), _PAUSE_MAX_S)
            answer = replace(answer, pause_s=pause_s, retry_at_s=now_s + pause_s)
        size_bytes = len(key[0]) + _size_bytes(answer)
        if size_bytes <= ANSWER_BYTES_MAX and not answer.unasked:
            self._cache.put(key, answer, now_s, self._ttl_s(answer), size_bytes=size_bytes)
        return answer

    def _ttl_s(self, answer: Answer) -> float:
        if answer.failed is not None:
            return 2 * answer.pause_s
        if answer.missing is not None:
            return self._negative_ttl_s
        return min(answer.ttl_s, _TTL_MAX_S)


async def _shared(task: asyncio.Task[Answer]) -> Answer:
    """The answer to a question that others may wait for, too."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        asking = asyncio.current_task()
        if task.cancelled() and asking is not None and not asking.cancelling():
            return _result(task)
        raise


def _result(task: asyncio.Task[Answer]) -> Answer:
    return Answer(failed=LookupFailed("the resolver was closed")) if task.cancelled() else task.result()


def _texts(records: Sequence[object]) -> list[bytes]:
    return [record for record in records if isinstance(record, bytes)]


class AresNameserver:
    """Questions to the configured servers (or those of /etc/resolv.conf), each within `timeout_s` with its retry."""

    def __init__(self, config: DnsConfig) -> None:
        self._config = config
        self._channel: asyncio.Future[aiodns.DNSResolver] | None = None
        self._guard = Guard("dns", partial(self._answers, "."), config.timeout_s, Breaker(_SILENCES_MAX))
        self._domains: OrderedDict[str, Guard] = OrderedDict()
        """Domains below which something was not answered."""

    async def ask(self, name: str, kind: str) -> Answer:
        """Ask one question. Every failure is in the Answer."""
        domains = _above(name)
        if self._guard.open or any(domain in self._domains and self._domains[domain].open for domain in domains):
            return Answer(failed=LookupFailed("no name server answers"), unasked=True)
        try:
            async with asyncio.timeout(self._config.timeout_s):
                channel = await self._opened()
                result = await channel.query_dns(name, kind)
        except aiodns.error.DNSError as error:
            code = error.args[0]
            self._note(domains, silence=code in _SILENCE)
            if code in _NO_SUCH_NAME or code == pycares.errno.ARES_ENODATA:
                return Answer(missing=NameNotFound(name, nxdomain=code in _NO_SUCH_NAME))
            return Answer(failed=LookupFailed(f"{kind} {name}: {error.args[-1]}"))
        except TimeoutError:
            self._note(domains, silence=True)
            return Answer(failed=LookupFailed(f"{kind} {name}: timeout"))
        except (OSError, pycares.AresError) as error:
            _log.warning("no DNS: %s", error)
            return Answer(failed=LookupFailed(f"no name server: {error}"))
        self._note(domains, silence=False)
        return _answer(name, kind, result)

    def _note(self, domains: Sequence[str], *, silence: bool) -> None:
        if not silence:
            for guard in (self._guard, *(self._domains[domain] for domain in domains if domain in self._domains)):
                guard.succeeded()
            return
        self._guard.failed()
        for domain in domains:
            if domain not in self._domains:
                probe = partial(self._answers, domain)
                breaker = Breaker(_SILENCES_MAX)
                self._domains[domain] = Guard(f"dns {domain}", probe, self._config.timeout_s, breaker)
            self._domains[domain].failed()
        while len(self._domains) > _DOMAINS_MAX:
            _, guard = self._domains.popitem(last=False)
            guard.stop()

    async def _answers(self, domain: str) -> bool:
        """Whether any name server says anything about the domain itself."""
        try:
            await (await self._opened()).query_dns(domain, "NS")
        except aiodns.error.DNSError as error:
            return error.args[0] not in _SILENCE
        except (OSError, pycares.AresError):
            return False
        return True

    async def close(self) -> None:
        """Give back the channel."""
        for guard in (self._guard, *self._domains.values()):
            await guard.close()
        channel, self._channel = self._channel, None
        if channel is not None and channel.done() and not channel.cancelled() and channel.exception() is None:
            await channel.result().close()

    async def _opened(self) -> aiodns.DNSResolver:
        """The one channel of this process; all who come while it is opened wait for the same one."""
        if self._channel is None:
            self._channel = asyncio.ensure_future(self._open())
        channel = self._channel
        try:
            return await asyncio.shield(channel)
        except (OSError, pycares.AresError):
            if self._channel is channel:
                self._channel = None  # the next question tries again
            raise

    async def _open(self) -> aiodns.DNSResolver:
        servers = [await _numeric(server) for server in self._config.nameservers]
        # c-ares doubles the time of the second try: a third and two thirds make the whole.
        return aiodns.DNSResolver(nameservers=servers or None, timeout=self._config.timeout_s / 3, tries=_TRIES)


def _above(name: str) -> list[str]:
    """The domains of two to four labels above a name: where zones begin, and lists."""
    labels = name.split(".")
    return [".".join(labels[-count:]) for count in range(2, min(5, len(labels)))]


async def _numeric(server: str) -> str:
    """`ip:port` as c-ares wants it, from host, host:port, [v6]:port or a bare v6 address. Raises OSError."""
    host, port = server, "53"
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif server.count(":") == 1:
        host, _, port = server.partition(":")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        infos = await asyncio.get_running_loop().getaddrinfo(host, None)
        ip = ipaddress.ip_address(infos[0][4][0])
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _size_bytes(answer: Answer) -> int:
    """What the records take in memory, roughly: their text and what Python adds to each."""
    return sum(_RECORD_OVERHEAD_BYTES + (len(r) if isinstance(r, bytes | str) else 255) for r in answer.records)


def _answer(name: str, kind: str, result: pycares.DNSResult) -> Answer:
    """The records of the type that was asked for; CNAMEs on the way count for the TTL."""
    records: list[object] = []
    for record in result.answer:
        match record.data:
            case pycares.TXTRecordData(data=data) if kind == "TXT":
                records.append(data)
            case pycares.ARecordData(addr=address) if kind == "A":
                records.append(address)
            case pycares.AAAARecordData(addr=address) if kind == "AAAA":
                records.append(address)
            case pycares.MXRecordData(priority=preference, exchange=exchange) if kind == "MX":
                records.append((preference, exchange.removesuffix(".") or "."))
            case pycares.PTRRecordData(dname=target) if kind == "PTR":
                records.append(target.removesuffix("."))
    if not records:
        return Answer(missing=NameNotFound(name, nxdomain=False))
    return Answer(tuple(records), ttl_s=min(record.ttl for record in result.answer))
