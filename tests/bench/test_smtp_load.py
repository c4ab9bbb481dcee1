"""The SMTP load: its schedule, its arithmetic, and the client's dialogue."""

import asyncio
from collections.abc import Coroutine

import pytest

from bench import smtp_load
from bench.ingress_kill import on_their_way, summary
from bench.smtp_client import Reply, SmtpClient, SmtpError
from bench.smtp_load import Load, Options, Sent, arrivals, figures, generated, message_id_of, percentiles_ms
from tests.gateway.virtual_time import VirtualLoop

MAILS = [(b"<%d@x>" % number, b"Message-ID: <%d@x>\r\n\r\nx\r\n" % number) for number in range(10)]


class FakeServer:
    """Takes the place of `SmtpClient.open`: every mail takes `takes_s`, the n-th gets the n-th code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes_s: float = 0.0, codes: dict[int, int] | None = None):
        self.takes_s = takes_s
        self.codes = codes or {}
        self.connections = 0
        self.mails = 0
        monkeypatch.setattr(SmtpClient, "open", self.open)

    async def open(self, *_args: object, **_options: object) -> "FakeServer":
        self.connections += 1
        return self

    async def send(self, *_args: object) -> Reply:
        self.mails += 1
        code = self.codes.get(self.mails, 250)
        await asyncio.sleep(self.takes_s)
        if not code:
            raise SmtpError("gone")
        return Reply(code, "said")

    async def quit(self) -> None:
        pass


def run(monkeypatch: pytest.MonkeyPatch, **changes: object) -> list[Sent]:
    options = Options(**({"host": "h", "port": 1, "rate": 10.0, "concurrency": 1, "per_connection": 100} | changes))

    async def main() -> list[Sent]:
        monkeypatch.setattr(smtp_load.time, "perf_counter", asyncio.get_running_loop().time)
        load = Load(options, MAILS)
        await load.run()
        return load.sent

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def test_each_mail_is_due_by_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeServer(monkeypatch, takes_s=0.01)
    sent = run(monkeypatch)
    assert [mail.due_s for mail in sent] == pytest.approx([number / 10 for number in range(10)])
    assert [mail.latency_s for mail in sent] == pytest.approx([0.01] * 10)


def test_a_slow_server_cannot_hide_behind_the_one_worker_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeServer(monkeypatch, takes_s=1.0)
    sent = run(monkeypatch)
    assert sent[-1].latency_s == pytest.approx(10.0 - 0.9)


def test_more_workers_keep_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeServer(monkeypatch, takes_s=0.35)
    assert max(mail.latency_s for mail in run(monkeypatch, concurrency=4)) == pytest.approx(0.35)


def test_connections_are_used_as_often_as_asked_for_and_not_after_a_421(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(monkeypatch)
    run(monkeypatch, per_connection=4)
    assert server.connections == 3
    server = FakeServer(monkeypatch, codes={1: 421, 2: 0, 3: 451})
    sent = run(monkeypatch)
    assert server.connections == 3
    assert [mail.code for mail in sent[:4]] == [421, 0, 451, 250]
    assert sent[1].text == "SmtpError: gone"


def test_generated_mails_are_unique_and_of_the_size_asked_for() -> None:
    mails = generated(50, 6000, "run")
    assert len({message_id_of(raw) for _, raw in mails}) == 50
    assert all(message_id_of(raw) == message_id and 5900 < len(raw) < 6300 for message_id, raw in mails)


def test_lost_and_duplicated_are_found_by_message_id() -> None:
    sent = [Sent(b"<a>", 0, 1, 250, ""), Sent(b"<b>", 0, 1, 250, ""), Sent(b"<c>", 0, 1, 451, "")]
    arrived = [b"Message-ID: <a>\r\n\r\n", b"message-id: <a>\r\n\r\nMessage-ID: <b>", b"Message-ID: <c>\r\n\r\n"]
    assert arrivals(sent, arrived) == {"arrived": 3, "lost": 1, "duplicated": 1, "arrived_without_250": 1}


def test_figures_count_codes_and_list_failures() -> None:
    sent = [Sent(b"<a>", 0, 0.1, 250, ""), Sent(b"<b>", 1, 3, 451, "4.7.1 later")]
    numbers = figures(sent)
    assert numbers["codes"] == {"250": 1, "451": 1}
    assert numbers["failures"] == [{"message_id": "<b>", "at_s": 3, "code": 451, "text": "4.7.1 later"}]
    assert percentiles_ms([]) == {}
    assert percentiles_ms([0.001 * n for n in range(1, 101)]) == {"p50": 51, "p95": 96, "p99": 100, "max": 100}


def test_only_mail_on_its_way_counts_for_a_kill() -> None:
    quiet = [Sent(b"<q>", 0, 0.3, 250, "")]
    sent = [Sent(b"<a>", 0, 0.5, 250, ""), Sent(b"<b>", 0.9, 2.2, 250, ""), Sent(b"<c>", 1.5, 1.8, 451, "")]
    assert [mail.message_id for mail in on_their_way(sent, [1.0])] == [b"<b>"]
    numbers = summary(quiet, sent, [1.0])
    assert numbers["added_delay_ms"] == {"p50": 1000, "p95": 1000, "p99": 1000, "max": 1000}
    assert (numbers["replies_451"], numbers["replies_other_than_250"]) == (1, 1)


class Wire:
    """An SMTP server of fixed words, in memory."""

    def __init__(self, *replies: bytes) -> None:
        self.reader = asyncio.StreamReader()
        self.reader.feed_data(b"".join(replies))
        self.reader.feed_eof()
        self.said = b""
        self.client = SmtpClient(self.reader, self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        pass


async def test_the_client_says_one_mail_with_its_dots_stuffed() -> None:
    wire = Wire(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250-2.0.0\r\n250 queued\r\n")
    assert await wire.client.send("s@x", ["r@x"], b".a\r\n.b\r\nc") == Reply(250, "queued")
    assert wire.said == b"MAIL FROM:<s@x>\r\nRCPT TO:<r@x>\r\nDATA\r\n..a\r\n..b\r\nc\r\n.\r\n"


async def test_a_refusal_before_the_content_is_the_reply_and_resets() -> None:
    wire = Wire(b"250 ok\r\n", b"451 4.7.1 later\r\n", b"250 ok\r\n")
    assert await wire.client.send("s@x", ["r@x"], b"x") == Reply(451, "4.7.1 later")
    assert wire.said.endswith(b"RSET\r\n")


@pytest.mark.parametrize("words", [b"", b"hello\r\n", b"250-a\r\n" * 200])
async def test_what_is_no_reply_is_an_error(words: bytes) -> None:
    reply: Coroutine[None, None, Reply] = Wire(words).client.reply()
    with pytest.raises(SmtpError):
        await reply
