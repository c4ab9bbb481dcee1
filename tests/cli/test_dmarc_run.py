"""Many reports at a time, with fakes for Redis, DNS and the server."""

import asyncio
import errno
import threading
from pathlib import Path

import msgspec
import pytest

from actors.ports import StoreUnavailable
from actors.reports.delivery import Courier, PostError
from actors.reports.report import Report, make_report
from actors.reports.row import Counts
from cli.config import TamisConfig
from cli.dmarc_run import Job, Result, _each, _write
from tests.actors.reports.samples import CONFIG, DAY, PUBLISHED, ROW
from tests.fakes import FakeClock, FakeReportStore, FakeResolver, turn_until

DOMAINS = [f"d{number}.example" for number in range(30)]
CHOSEN = msgspec.structs.replace(CONFIG, destinations={name: (f"r@{name}",) for name in DOMAINS})


class SlowPost:
    """Takes one mail at a time, when it is told to; one is refused."""

    def __init__(self, store: FakeReportStore) -> None:
        self.sent: list[str] = []
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self._store = store

    async def send(self, _sender: str, recipient: str, _mail: bytes) -> None:
        self.begun.append(recipient)
        assert sum(map(len, self._store.marks.values())) == len(self.sent), "the one before is marked"
        await self.go.wait()
        if recipient == "r@d3.example":
            raise PostError("451 later")
        self.sent.append(recipient)


class LosingStore(FakeReportStore):
    """A Redis that goes away when it is asked about one domain."""

    lost = ""

    async def sent(self, day: str, domain: str) -> list[str]:
        if domain == self.lost:
            raise StoreUnavailable("away")
        return list(await super().sent(day, domain))


def counts(domain: str) -> Counts:
    return Counts(msgspec.structs.replace(PUBLISHED, domain=domain), {ROW: 1})


async def run(store: FakeReportStore, post: SlowPost) -> tuple[Result, list[tuple[int, int]]]:
    result, steps = Result(), list[tuple[int, int]]()
    for name in DOMAINS:
        await store.add(DAY, {name: counts(name)})
    courier = Courier(CHOSEN, store, FakeResolver(), FakeClock(), "one", post)
    job = Job(TamisConfig(), DAY)
    try:
        await _each(courier, job, DOMAINS, lambda _, over, total: steps.append((over, total)), result)
    except StoreUnavailable:
        result.failed("", "away")
    return result, steps


async def test_all_reports_leave_and_are_told_in_order() -> None:
    store = FakeReportStore()
    post = SlowPost(store)
    post.go.set()
    result, steps = await run(store, post)
    assert [entry["domain"] for entry in result.reports] == sorted(DOMAINS)
    assert sorted(post.sent) == sorted(f"r@{name}" for name in DOMAINS if name != "d3.example")
    assert result.problems == ["d3.example: r@d3.example: 451 later"]
    assert steps[-1] == (30, 30)


async def test_what_ends_the_run_lets_the_mails_under_way_be_marked() -> None:
    store = LosingStore()
    post = SlowPost(store)
    store.lost = DOMAINS[0]
    running = asyncio.create_task(run(store, post))
    await turn_until(lambda: len(post.begun) == 1)
    post.go.set()
    result, _ = await running
    marked = sorted(address for addresses in store.marks.values() for address in addresses)
    assert marked == sorted(post.sent)
    assert len(marked) == 6, "seven of eight workers had one; one was refused"
    assert "away" in result.problems


async def write(directory: Path, domains: list[str]) -> Result:
    store, result = FakeReportStore(), Result()
    await store.add(DAY, {name: counts(name) for name in domains})
    courier = Courier(CONFIG, store, FakeResolver(), FakeClock(), "one")
    await _each(courier, Job(TamisConfig(), DAY, directory=directory), domains, lambda *_: None, result)
    return result


def files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_file()]


async def test_a_report_that_cannot_be_written_keeps_no_other_from_its_file(tmp_path: Path) -> None:
    name = make_report(CONFIG, DAY, counts("d3.example")).file_name
    (tmp_path / name).mkdir()
    result = await write(tmp_path, DOMAINS)
    assert [entry["domain"] for entry in result.reports] == sorted({*DOMAINS} - {"d3.example"})
    assert result.problems == [f"d3.example: {name}: Is a directory"]
    assert len(files(tmp_path)) == len(DOMAINS) - 1, "and no part of the other"


async def test_the_longest_domain_of_a_stranger_keeps_no_other_from_its_file(tmp_path: Path) -> None:
    longest = ".".join(("a" * 60, "b" * 60, "c" * 60, "d" * 61, "example"))
    result = await write(tmp_path, [longest, *DOMAINS])
    assert not result.problems
    assert len(files(tmp_path)) == len(DOMAINS) + 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
async def test_a_directory_that_takes_nothing_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked: list[Report] = []

    def full(_: Path, report: Report) -> None:
        asked.append(report)
        raise OSError(number, "no")

    monkeypatch.setattr("cli.dmarc_run._write", full)
    with pytest.raises(OSError, match="no"):
        await write(tmp_path, DOMAINS)
    assert len(asked) <= 8, "one a worker"


async def test_reports_that_are_written_together_do_not_share_a_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = f"{'b' * 60}.{'c' * 40}.example"
    reports = [make_report(CONFIG, DAY, counts(f"{name}.{tail}")) for name in ("one", "two")]
    both, rename = threading.Barrier(2, timeout=10), Path.rename

    def wait_and_rename(partial: Path, target: Path) -> Path:
        both.wait()
        return rename(partial, target)

    monkeypatch.setattr(Path, "rename", wait_and_rename)
    await asyncio.gather(*(asyncio.to_thread(_write, tmp_path, report) for report in reports))
    assert [(tmp_path / report.file_name).read_bytes() for report in reports] == [report.packed for report in reports]
