"""Open-loop SMTP load: what a mail system does at a given rate, counted from when each mail was due.

    python -m bench.smtp_load --milter inet:11332@127.0.0.1 --messages 1000 --rate 40     # through a Postfix of its own
    python -m bench.smtp_load --to HOST:PORT --messages 1000 --rate 40 --recipient you@there.example

Strategy: mail n is due at n / rate, whatever became of those before it. Workers take the next one that is due; a mail
that has to wait for a worker waits on its own clock, so a system that stalls cannot hide it (no coordinated
omission). Rate 0 sends as fast as the workers can; latency is then that of the transaction alone. With a Postfix of
its own the sink is read too: what was accepted and did not arrive is lost, what arrived twice is duplicated, both by
Message-ID.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import uvloop

from bench.figures import percentile, show
from bench.milter_load import make_unique, read_corpus
from bench.postfix import Postfix, why_not
from bench.smtp_client import Reply, SmtpClient, SmtpError

FAILURES_SHOWN = 20
ARRIVAL_S = 120.0
RECIPIENT = "reader@recipient.example"
_MESSAGE_ID = b"message-id:"


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for."""

    host: str
    port: int
    rate: float
    """Mails per second; 0: as fast as it goes."""
    concurrency: int
    per_connection: int
    client_ip: str = ""
    sender: str = "ben@friends.example"
    recipient: str = RECIPIENT


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one mail; times in seconds since the beginning of the run."""

    message_id: bytes
    due_s: float
    end_s: float
    code: int
    """Of the SMTP reply that decided; 0 when there was none."""
    text: str

    @property
    def latency_s(self) -> float:
        """From when it was due to the last reply."""
        return self.end_s - self.due_s


def generated(count: int, size_bytes: int, run: str) -> list[tuple[bytes, bytes]]:
    """(Message-ID, mail) of ordinary small mails of about this size."""
    body = b"".join(b"Line %d of a mail that nobody needs to read.\r\n" % n for n in range(max(1, size_bytes // 46)))
    mails = []
    for number in range(count):
        message_id = f"<{run}.{number}@load.example>".encode()
        head = (
            f"From: Ben <ben@friends.example>\r\nTo: {RECIPIENT}\r\nSubject: load {number}\r\n"
            f"Date: {formatdate()}\r\nMessage-ID: {message_id.decode()}\r\n\r\n"
        )
        mails.append((message_id, head.encode() + body))
    return mails


def from_corpus(places: Sequence[Path], count: int, run: str) -> list[tuple[bytes, bytes]]:
    """(Message-ID, mail) of real mails, each made unique; those whose Message-ID is signed are left out."""
    mails: list[tuple[bytes, bytes]] = []
    corpus = read_corpus(places)
    for number in range(min(len(corpus), 1) and count):
        mail = make_unique(corpus[number % len(corpus)], f"{run}.{number}".encode())
        message_id = message_id_of(mail.raw)
        if run.encode() in message_id:
            mails.append((message_id, mail.raw))
    return mails


def message_id_of(raw: bytes) -> bytes:
    """The first Message-ID field's value, or empty."""
    for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        if line[:11].lower() == _MESSAGE_ID:
            return line[11:].strip()
    return b""


class Load:
    """One run over the mails; `sent` grows as it goes."""

    def __init__(self, options: Options, mails: Iterable[tuple[bytes, bytes]]) -> None:
        self._options = options
        self._mails = enumerate(mails)
        self.sent: list[Sent] = []
        self.began_s = 0.0
        """time.perf_counter() at the beginning."""

    async def run(self) -> None:
        """Send everything; whatever goes wrong is in `sent`."""
        self.began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.concurrency):
                group.create_task(self._worker())

    def _now_s(self) -> float:
        return time.perf_counter() - self.began_s

    async def _worker(self) -> None:
        options, client, used = self._options, None, 0
        for number, (message_id, raw) in self._mails:
            due_s = number / options.rate if options.rate else self._now_s()
            if (wait_s := due_s - self._now_s()) > 0:
                await asyncio.sleep(wait_s)
            try:
                if client is None:
                    client, used = await self._connect(), 0
                reply = await client.send(options.sender, [options.recipient], raw)
                used += 1
            except (OSError, SmtpError, TimeoutError) as error:
                reply = Reply(0, f"{type(error).__name__}: {error}")
            self.sent.append(Sent(message_id, due_s, self._now_s(), reply.code, reply.text))
            if client is not None and (reply.code in (0, 421) or used >= options.per_connection):
                await client.quit()
                client = None
        if client is not None:
            await client.quit()

    async def _connect(self) -> SmtpClient:
        options = self._options
        return await SmtpClient.open(options.host, options.port, client_ip=options.client_ip)


def percentiles_ms(latencies_s: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and max in milliseconds."""
    values = sorted(latencies_s)
    if not values:
        return {}
    return {
        **{f"p{p}": round((percentile(values, p) or 0.0) * 1000, 1) for p in (50, 95, 99)},
        "max": round(values[-1] * 1000, 1),
    }


def arrivals(sent: Sequence[Sent], arrived: Iterable[bytes]) -> dict[str, object]:
    """Lost and duplicated at the sink, by Message-ID; a mail without a 250 that arrives is counted apart."""
    times = Counter(map(message_id_of, arrived))
    accepted = {mail.message_id for mail in sent if mail.code == 250}
    refused = {mail.message_id for mail in sent} - accepted
    return {
        "arrived": sum(times.values()),
        "lost": sum(times[message_id] == 0 for message_id in accepted),
        "duplicated": sum(count > 1 for count in times.values()),
        "arrived_without_250": sum(times[message_id] > 0 for message_id in refused),
    }


def figures(sent: Sequence[Sent]) -> dict[str, object]:
    """Counts by SMTP code, latency and rate of a run."""
    took_s = max((mail.end_s for mail in sent), default=0.0)
    failures = [mail for mail in sent if mail.code != 250]
    return {
        "messages": len(sent),
        "seconds": round(took_s, 2),
        "messages_per_s": round(len(sent) / took_s, 1) if took_s else 0,
        "codes": {str(code): count for code, count in sorted(Counter(mail.code for mail in sent).items())},
        "latency_ms": percentiles_ms(mail.latency_s for mail in sent),
        "failures": [
            {
                "message_id": mail.message_id.decode("latin-1"),
                "at_s": round(mail.end_s, 2),
                "code": mail.code,
                "text": mail.text,
            }
            for mail in failures[:FAILURES_SHOWN]
        ],
    }


async def run_with_reports(load: Load, report_s: float, tell: Callable[[str], None]) -> None:
    """The run, with a line every so many seconds about what happened since the last one."""
    running = asyncio.create_task(load.run())
    told = 0
    while not running.done():
        await asyncio.wait([running], timeout=report_s or None)
        new, told = load.sent[told:], len(load.sent)
        if new:
            codes = " ".join(f"{code}:{n}" for code, n in sorted(Counter(mail.code for mail in new).items()))
            shown = " ".join(f"{name} {ms:g} ms" for name, ms in percentiles_ms(m.latency_s for m in new).items())
            tell(f"{time.perf_counter() - load.began_s:7.1f} s  {told:>7} sent  {codes}  {shown}")
    await running


def wait_for_arrivals(postfix: Postfix, accepted: int) -> list[bytes]:
    """What the sink holds when all that was accepted is there, and nothing more has come for two seconds."""
    postfix.delivered(accepted, timeout_s=ARRIVAL_S)
    count = -1
    while count != len(postfix.sink.messages):
        count = len(postfix.sink.messages)
        time.sleep(2)
    return list(postfix.sink.messages)


@contextmanager
def own_postfix(milter: str) -> Iterator[Postfix]:
    """A Postfix with a sink. Raises SystemExit when there can be none."""
    if why_not():
        raise SystemExit(why_not())
    with Postfix(milter) as postfix:
        yield postfix


def main() -> int:
    args = _parser().parse_args()
    run = f"{time.time_ns():x}"
    mails = from_corpus(args.corpus, args.messages, run) if args.corpus else generated(args.messages, args.bytes, run)

    def load(host: str, port: int) -> Load:
        options = Options(
            host, port, args.rate, args.concurrency, args.per_connection, args.client_ip, args.sender, args.recipient
        )
        load = Load(options, mails)
        uvloop.run(run_with_reports(load, args.report_s, lambda line: print(line, file=sys.stderr, flush=True)))
        return load

    if args.milter:
        with own_postfix(args.milter) as postfix:
            sent = load("127.0.0.1", postfix.port).sent
            arrived = wait_for_arrivals(postfix, sum(mail.code == 250 for mail in sent))
        numbers = figures(sent) | arrivals(sent, arrived)
    else:
        host, _, port = args.to.rpartition(":")
        numbers = figures(load(host, int(port)).sent)
    show(numbers, as_json=args.json)
    return 1 if numbers["failures"] or numbers.get("lost") or numbers.get("duplicated") else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--milter", help="start a Postfix with a sink that asks this milter")
    target.add_argument("--to", help="HOST:PORT of a mail server of yours")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0.0, help="mails per second; 0: as fast as it goes")
    parser.add_argument("--concurrency", type=int, default=16, help="SMTP connections at a time")
    parser.add_argument("--per-connection", type=int, default=1, help="mails on one connection")
    parser.add_argument("--client-ip", default="", help="address told by XCLIENT")
    parser.add_argument("--sender", default="ben@friends.example")
    parser.add_argument("--recipient", default=RECIPIENT)
    parser.add_argument("--corpus", nargs="+", type=Path, help="mail files or folders of them; else generated mail")
    parser.add_argument("--bytes", type=int, default=6000, help="of generated mail")
    parser.add_argument("--report-s", type=float, default=5.0, help="seconds between report lines; 0: none")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
