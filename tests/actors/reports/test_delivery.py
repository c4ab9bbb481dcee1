import asyncio

import msgspec
import pytest

from actors.ports import StoreUnavailable
from actors.reports import delivery
from actors.reports.delivery import Courier, HeldError, Outcome, PostError
from actors.reports.report import make_report
from tests.actors.reports.samples import CONFIG, COUNTS, DAY
from tests.fakes import FakeClock, FakeReportStore, FakeResolver, turn_until

ZONE = '_dmarc.example.org TXT "v=DMARC1; rua=mailto:a@example.org,mailto:b@example.org,mailto:c@elsewhere.example"'
REPORT = make_report(CONFIG, DAY, COUNTS)


class FakePost:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def send(self, sender: str, recipient: str, mail: bytes) -> None:
        await self.answers.wait()
        if recipient in self.broken:
            raise PostError("451 not now")
        assert f"To: {recipient}\r\n".encode() in mail
        self.sent.append((sender, recipient))


class Bench:
    def __init__(self, zone: str = ZONE, failing: tuple[str, ...] = (), **config: object) -> None:
        self.config = msgspec.structs.replace(CONFIG, **config)
        self.store, self.post, self.resolver = FakeReportStore(), FakePost(), FakeResolver(zone, failing)

    def courier(self, holder: str = "one", *, dry: bool = False) -> Courier:
        post = None if dry else self.post
        return Courier(self.config, self.store, self.resolver, FakeClock(), holder, post)

    async def deliver(self, holder: str = "one", *, dry: bool = False) -> dict[str, Outcome]:
        deliveries = await self.courier(holder, dry=dry).deliver(REPORT)
        return {delivery.address: delivery.outcome for delivery in deliveries}


async def test_a_report_goes_to_each_address_that_wants_it_once() -> None:
    bench = Bench()
    first = await bench.deliver()
    assert first == {"a@example.org": "sent", "b@example.org": "sent", "c@elsewhere.example": "refused"}
    assert bench.post.sent == [(CONFIG.email, "a@example.org"), (CONFIG.email, "b@example.org")]
    again = await bench.deliver()
    assert again == {"a@example.org": "already", "b@example.org": "already", "c@elsewhere.example": "refused"}
    assert len(bench.post.sent) == 2


async def test_what_the_server_does_not_take_is_tried_by_the_next_run_alone() -> None:
    bench = Bench()
    bench.post.broken = {"a@example.org"}
    assert (await bench.deliver())["a@example.org"] is Outcome.FAILED
    bench.post.broken = set()
    assert (await bench.deliver())["a@example.org"] is Outcome.SENT
    assert [recipient for _, recipient in bench.post.sent] == ["b@example.org", "a@example.org"]


async def test_killed_between_sending_and_marking_one_mail_leaves_twice() -> None:
    bench = Bench()

    async def killed(*_: str) -> None:
        raise StoreUnavailable("away")

    mark, bench.store.mark_sent = bench.store.mark_sent, killed  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await bench.deliver()
    bench.store.mark_sent = mark  # type: ignore[method-assign]
    await bench.deliver()
    assert [recipient for _, recipient in bench.post.sent] == ["a@example.org", "a@example.org", "b@example.org"]


async def test_two_runs_do_not_send_the_same_day() -> None:
    bench = Bench()
    bench.store.holder = "another"
    with pytest.raises(HeldError):
        await bench.deliver()
    assert not bench.resolver.questions
    await bench.store.let_go(DAY, "another")
    assert (await bench.deliver())["a@example.org"] is Outcome.SENT


async def test_the_right_to_send_is_kept_as_long_as_the_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "RENEW_S", 0.0)
    bench, held = Bench(), 0
    hold = bench.store.hold

    async def count(day: str, holder: str, for_s: float) -> bool:
        nonlocal held
        held += 1
        if held == 5:
            raise StoreUnavailable("away")
        return await hold(day, holder, for_s)

    bench.store.hold = count  # type: ignore[method-assign]
    bench.post.answers.clear()
    async with asyncio.TaskGroup() as group:
        run = group.create_task(bench.deliver())
        await turn_until(lambda: held == 9)
        assert not bench.post.sent
        bench.post.answers.set()
    assert run.result()["a@example.org"] is Outcome.SENT
    assert len(bench.post.sent) == 2


async def test_what_another_run_sent_while_this_one_stood_still_is_not_sent_again() -> None:
    bench = Bench()
    send = bench.post.send

    async def stand_still(sender: str, recipient: str, mail: bytes) -> None:
        bench.post.send = send  # type: ignore[method-assign]
        bench.store.holder = ""  # as if HOLD_S had passed
        await bench.deliver("another")
        await bench.store.let_go(DAY, "another")
        await send(sender, recipient, mail)

    bench.post.send = stand_still  # type: ignore[method-assign]
    assert await bench.deliver("one") == {
        "a@example.org": "sent",
        "b@example.org": "already",
        "c@elsewhere.example": "refused",
    }
    assert [recipient for _, recipient in bench.post.sent] == ["a@example.org", "b@example.org", "a@example.org"]


async def test_a_dry_run_leaves_no_trace() -> None:
    bench = Bench()
    bench.store.holder = "another"
    dry = await bench.deliver(dry=True)
    assert dry == {"a@example.org": "would send", "b@example.org": "would send", "c@elsewhere.example": "refused"}
    assert not bench.store.marks
    assert (bench.store.holder, bench.post.sent) == ("another", [])


async def test_dns_that_does_not_answer_leaves_the_report_for_another_run() -> None:
    assert await Bench(failing=("_dmarc.example.org",)).deliver() == {"": "failed"}
    refused_for_now = await Bench(failing=("_dmarc.elsewhere.example",)).deliver()
    assert refused_for_now["c@elsewhere.example"] is Outcome.FAILED


async def test_the_operator_names_other_destinations_and_nobody_is_asked() -> None:
    bench = Bench(destinations={"example.org": ("all@reports.example", "x@elsewhere.example"), "other.example": ()})
    assert await bench.deliver() == {"all@reports.example": "sent", "x@elsewhere.example": "sent"}
    assert not bench.resolver.questions


async def test_nothing_goes_where_the_operator_does_not_want_it() -> None:
    bench = Bench(exclude_addresses=("b@example.org",))
    assert await bench.deliver() == {
        "a@example.org": "sent",
        "b@example.org": "refused",
        "c@elsewhere.example": "refused",
    }
    (why,) = {one.why for one in await bench.courier().deliver(REPORT) if one.address == "b@example.org"}
    assert why == "[dmarc_report] exclude_addresses"


async def test_a_mail_that_no_server_would_take_is_not_offered() -> None:
    bench = Bench(mail_bytes_max=1024)
    assert await bench.deliver() == {
        "a@example.org": "refused",
        "b@example.org": "refused",
        "c@elsewhere.example": "refused",
    }
    assert not bench.post.sent
    assert not bench.store.marks


async def test_a_domain_that_no_longer_asks_gets_nothing() -> None:
    bench = Bench("")
    assert await bench.deliver() == {}
    assert not bench.post.sent
