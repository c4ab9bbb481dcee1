"""Makes the reports of a day and brings them where they are wanted: `tamis dmarc report` after its options."""

import asyncio
import contextlib
import errno
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from actors.adapters.clock import SystemClock
from actors.adapters.dns import DnsResolver
from actors.adapters.redis_reports import RedisReports
from actors.adapters.zone import ZoneResolver
from actors.ports import Resolver, StoreUnavailable
from actors.reports.delivery import Courier, HeldError, Outcome
from actors.reports.report import Report, ReportError, make_report
from actors.reports.row import Counts
from cli.config import TamisConfig
from cli.progress import Step
from cli.smtp_post import SmtpPost

_STEPS = 100
_TAKES_NOTHING = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
"""What is wrong with a directory rather than with one file: no other report could be written either."""
_WORKERS = 8
"""Reports at a time, since about each there are answers of DNS to wait for; what takes memory is done one by one."""


@dataclass(frozen=True)
class Job:
    """What is to be done; without `directory` and `server` nothing leaves."""

    settings: TamisConfig
    day: str
    """Such as "20261122"."""
    domain: str = ""
    """Only this one."""
    directory: Path | None = None
    server: tuple[str, int] | None = None
    dns_zone: Path | None = None


@dataclass
class Result:
    """What became of the reports of a day."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What should be tried again, or cannot be made."""

    def failed(self, domain: str, why: str) -> None:
        """Something did not go as it should."""
        self.problems.append(f"{domain}: {why}" if domain else why)


async def run(job: Job, step: Step) -> Result:
    """Every report of the day, one after the other. Raises ValueError for a bad zone file, OSError for files."""
    result = Result()
    if job.directory is not None:
        job.directory.mkdir(parents=True, exist_ok=True)
    async with _courier(job) as courier:
        try:
            domains = [job.domain] if job.domain else await courier.store.domains(job.day)
            await _each(courier, job, [*_wanted(courier, job, domains, result)], step, result)
        except StoreUnavailable as error:
            result.failed("", f"Redis does not answer: {error}")
        except HeldError:
            result.failed("", "another run sends the reports of this day, or was killed less than 5 minutes ago")
        finally:
            with contextlib.suppress(StoreUnavailable):
                await courier.store.let_go(job.day, courier.holder)
    return result


def _wanted(courier: Courier, job: Job, domains: Iterable[str], result: Result) -> Iterator[str]:
    """Those that the operator does not exclude; one that was asked for is a problem then."""
    for domain in domains:
        if not courier.config.excludes(domain):
            yield domain
        elif job.domain:
            result.failed(domain, "[dmarc_report] exclude_domains")


async def _each(courier: Courier, job: Job, domains: Sequence[str], step: Step, result: Result) -> None:
    """Some at a time. What ends one worker lets the others finish the mail they are at, so that it is marked."""
    left = iter(enumerate(domains))
    making = asyncio.Lock()
    ended: list[StoreUnavailable | HeldError | OSError] = []

    async def work() -> None:
        for number, domain in left:
            if number * _STEPS // len(domains) != (number - 1) * _STEPS // len(domains):
                step(f"reports about {job.day}", number, len(domains))
            try:
                await _one(courier, job, domain, making, result)
            except (StoreUnavailable, HeldError, OSError) as error:
                ended.append(error)
            if ended:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(_WORKERS):
            group.create_task(work())
    result.reports.sort(key=itemgetter("domain"))
    result.problems.sort()
    if ended:
        raise ended[0]
    step(f"reports about {job.day}", len(domains), len(domains))


async def counted(
    settings: TamisConfig, day: str, domain: str, figures: Callable[[Counts], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The figures of what was counted on a day, about all domains or one. Raises StoreUnavailable."""
    store = RedisReports(settings.redis, settings.dmarc_report)
    try:
        domains = [domain] if domain else await store.domains(day)
        # One after the other: the rows of a day may be more than memory holds.
        return [figures(counts) for name in domains if (counts := await store.counts(day, name)) is not None]
    finally:
        await store.close()


async def _one(courier: Courier, job: Job, domain: str, making: asyncio.Lock, result: Result) -> None:
    """Make one report and bring it where it is wanted. Raises OSError when no report can be written."""
    try:
        async with making:
            report = await _made(courier, job.day, domain)
    except ReportError as error:
        result.failed(domain, str(error))
        return
    entry = _described(report)
    if job.directory is not None:
        try:
            await asyncio.to_thread(_write, job.directory, report)
        except OSError as error:
            if error.errno in _TAKES_NOTHING:
                raise
            result.failed(domain, f"{report.file_name}: {error.strerror}")
            return
    else:
        deliveries = await courier.deliver(report)
        entry["deliveries"] = [{"address": d.address, "outcome": d.outcome, "why": d.why} for d in deliveries]
        for delivery in deliveries:
            if delivery.outcome is Outcome.FAILED:
                result.failed(domain, f"{delivery.address}: {delivery.why}" if delivery.address else delivery.why)
    result.reports.append(entry)


async def _made(courier: Courier, day: str, domain: str) -> Report:
    """Raises ReportError and StoreUnavailable."""
    counts = await courier.store.counts(day, domain)
    if counts is None:
        raise ReportError("nothing was counted")
    return await asyncio.to_thread(make_report, courier.config, day, counts)


def _described(report: Report) -> dict[str, Any]:
    return {
        "domain": report.domain,
        "report_id": report.report_id,
        "file": report.file_name,
        "messages": report.messages,
        "rows": report.rows,
        "dropped": report.dropped,
        "xml_bytes": len(report.xml),
        "gzip_bytes": len(report.packed),
    }


def _write(directory: Path, report: Report) -> None:
    """Whole or not at all; the same report is the same file. Raises OSError."""
    # Other threads, and runs on other machines, write there too; a temporary file of `tempfile` nobody else could read.
    partial = directory / f".{secrets.token_hex(16)}"
    try:
        partial.write_bytes(report.packed)
        partial.rename(directory / report.file_name)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


@contextlib.asynccontextmanager
async def _courier(job: Job) -> AsyncIterator[Courier]:
    """With everything that it needs, closed in the end."""
    clock, reports = SystemClock(), job.settings.dmarc_report
    resolver: Resolver = (
        ZoneResolver.from_file(job.dns_zone) if job.dns_zone is not None else DnsResolver(job.settings.dns, clock)
    )
    store = RedisReports(job.settings.redis, reports)
    post = SmtpPost(*job.server, reports.domain, reports.smtp_tls) if job.server is not None else None
    holder = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}"
    try:
        yield Courier(reports, store, resolver, clock, holder, post)
    finally:
        if post is not None:
            await asyncio.to_thread(post.close)
        await resolver.close()
        await store.close()
