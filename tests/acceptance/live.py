"""Acceptance on a running Tamis: Postfix, traces, bad input, load, start and stop."""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import psutil

from actors.policy.gtube import GTUBE
from bench.corpus import held_out_messages
from bench.otlp_receiver import ACTOR_SPANS
from bench.postfix import Postfix, free_port, send_in_parallel, why_not
from bench.samples import CLIENT_IP, SampleMaker, eicar_mail
from bench.stack import Stack, StackOptions, wait_for
from cli.mta import MtaOutcome, play_message
from tests.acceptance.commands import PROJECT
from tests.acceptance.report import Report

OF_EACH_KIND = 200


def play(stack: Stack, raw: bytes, queue_id: str = "4ACCEPT", sender: bytes = b"ben@friends.example") -> MtaOutcome:
    """One message by the milter port."""
    return asyncio.run(
        play_message(
            stack.milter,
            raw,
            sender=sender,
            recipients=[b"reader@recipient.example"],
            client_ip=CLIENT_IP,
            macros={b"i": queue_id.encode()},
        )
    )


class LiveChecks:
    """Checks that share one `tamis up`."""

    def __init__(self, stack: Stack, maker: SampleMaker, corpora: Path | None) -> None:
        self.stack = stack
        self.maker = maker
        self.corpora = corpora

    def ready_file(self, report: Report) -> None:
        """The ready file names what listens."""
        ready = self.stack.ready
        right = {"milter", "grpc", "console", "redis"} <= ready.keys() and ready["milter"].startswith("inet:")
        report.true("up_ready_file", right, "tamis up --ready-file F", f"after_{self.stack.start_s:.1f}_s")

    def postfix(self, report: Report) -> None:
        """By SMTP through a real Postfix."""
        if why_not():
            raise AssertionError(why_not())
        command = "pytest tests/live/test_postfix.py"
        with Postfix(self.stack.milter) as server:
            raw = self.maker.samples()[0].raw
            code, _ = server.send(raw, sender="anna@shop.example", client_ip=CLIENT_IP)
            arrived = message_from_bytes(server.delivered(1)[0])
            results = " ".join(arrived.get_all("Authentication-Results", []))
            passes = all(word in results for word in ("spf=pass", "dkim=pass", "dmarc=pass"))
            clean = code == 250 and passes and arrived["X-Spam-Flag"] is None and arrived["X-Spam-Score"] is not None
            report.true("postfix_clean_mail_headers", clean, command, code)
            code, _ = server.send(eicar_mail(), client_ip=CLIENT_IP)
            report.true("postfix_eicar_rejected", 500 <= code < 600, command, code)
            gtube = b"From: ben@friends.example\r\nSubject: test\r\n\r\n" + GTUBE + b"\r\n"
            code, _ = server.send(gtube, client_ip=CLIENT_IP)
            report.true("postfix_gtube_rejected", 500 <= code < 600, command, code)
            self._shares(report, server, command)
        with Postfix(f"inet:{free_port()}@127.0.0.1") as lonely:
            code, _ = lonely.send(raw)
        report.true("postfix_gateway_down_4xx", 400 <= code < 500, command, code)

    def _shares(self, report: Report, server: Postfix, command: str) -> None:
        if self.corpora is None:
            return
        for kind in ("spam", "ham"):
            mails = held_out_messages(self.corpora / "spamassassin", spam=kind == "spam", count=OF_EACH_KIND)
            before = len(server.sink.messages)
            replies = send_in_parallel(server, mails)
            refused = sum(code >= 500 for code, _ in replies)
            unanswered = sum(code < 500 and code != 250 for code, _ in replies)
            arrived = server.delivered(before + len(mails) - refused - unanswered)[before:]
            flagged = refused + sum(message_from_bytes(raw)["X-Spam-Flag"] == "YES" for raw in arrived)
            share, complete = flagged / len(mails), unanswered == 0 and len(mails) == OF_EACH_KIND
            bound_met = share >= 0.95 if kind == "spam" else share <= 0.01
            bound = ">=0.95" if kind == "spam" else "<=0.01"
            report.result(f"postfix_{kind}_header_share", share, bound, command, ok=bound_met and complete)

    def traces(self, report: Report) -> None:
        """One trace, whole, with the four actors side by side."""
        command = "pytest tests/live/test_trace.py"
        play(self.stack, self.maker.samples()[0].raw, "4TRACE", b"anna@shop.example")
        spans = wait_for(lambda: self.stack.receiver.whole_trace("4TRACE"), 20)
        by_id = {span.span_id: span for span in spans}
        (ingress,) = [span for span in spans if span.name == "filter.transaction"]
        parents = by_id[ingress.parent_span_id].name == "milter.transaction" and all(
            by_id[span.parent_span_id] is ingress for span in spans if span.name in ACTOR_SPANS
        )
        report.true("trace_whole_message", parents, command, f"{len(spans)}_spans")
        four = [span for span in spans if span.name in ACTOR_SPANS and span.attributes.get("stage") == "message"]
        overlap_ms = (min(span.end_ns for span in four) - max(span.start_ns for span in four)) / 1e6
        report.true("trace_actors_overlap", overlap_ms > 0 and len(four) == 4, command, f"{overlap_ms:.2f}_ms")

    def bad_messages(self, report: Report) -> None:
        """Messages of odd shapes get a verdict."""
        header = b"From: ben@friends.example\r\nSubject: odd\r\n"
        odd = {
            "bad_not_mime": b"no header here\r\njust text\r\n",
            "bad_8bit_headers": b"Subject: \xe4\xf6\xfc \xff\xfe\r\nFrom: \xe9@x.example\r\n\r\nhi\r\n",
            "bad_nul_bytes": header + b"X-Nul: a\x00b\r\n\r\na\x00b\r\n",
            "bad_no_from": b"Subject: nobody\r\n\r\nhi\r\n",
            "bad_two_froms": b"From: a@a.example\r\nFrom: b@b.example\r\n\r\nhi\r\n",
            "bad_empty_body": header + b"\r\n",
            "bad_30mb_body": header + b"\r\n" + (b"x" * 76 + b"\r\n") * (30_000_000 // 78),
        }
        for name, raw in odd.items():
            outcome = play(self.stack, raw)
            fine = not outcome.error and outcome.action not in ("tempfail", "")
            report.true(name, fine, "tamis send F", outcome.action or outcome.error)

    def bad_clients(self, report: Report) -> None:
        """Garbage on the milter port closes the connection with one log line and leaves the memory alone."""
        optneg = struct.pack("!LcLLL", 13, b"O", 6, 0x1FF, 0x1FFFFF)
        attacks = {
            "bad_garbage": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "bad_frame_4gb": optneg + struct.pack("!Lc", 0xFFFFFFFF, b"C"),
            "bad_frame_zero": optneg + struct.pack("!L", 0),
            "bad_disconnect": optneg + struct.pack("!Lc", 500, b"C") + b"half a fra",
        }
        gateway = self._gateway()
        for data in attacks.values():
            attack(self.stack.milter, data)
        before_mb = gateway.memory_info().rss / 1e6
        for name, data in attacks.items():
            lines_before = self.stack.log.count("\n")
            closed = attack(self.stack.milter, data)
            time.sleep(0.3)
            lines = self.stack.log.count("\n") - lines_before
            report.true(name, closed and lines == 1, "make accept-main", f"closed={closed},{lines}_line")
        for _ in range(250):
            for data in attacks.values():
                attack(self.stack.milter, data)
        grown_mb = gateway.memory_info().rss / 1e6 - before_mb
        answered = play(self.stack, self.maker.samples()[1].raw)
        report.at_most("bad_memory_growth_mb", grown_mb if not answered.error else 1e9, 8, "1000 attacks")

    def _gateway(self) -> psutil.Process:
        for child in psutil.Process(self.stack.pid).children(recursive=True):
            if "gateway" in child.cmdline():
                return child
        raise AssertionError("no gateway process")

    def sessions(self, report: Report) -> None:
        """4,000 idle sessions and one more message."""
        port, host = milter_address(self.stack.milter)
        held: list[socket.socket] = []
        try:
            for _ in range(4000):
                held.append(socket.create_connection((host, port), 5))
                held[-1].sendall(struct.pack("!LcLLL", 13, b"O", 6, 0x1FF, 0x1FFFFF))
            negotiated = sum(len(session.recv(4)) == 4 for session in held)
            # One goes, a message comes in its place: what is held must not be in the way of mail.
            held.pop().close()
            time.sleep(0.2)
            outcome = play(self.stack, self.maker.samples()[1].raw)
        finally:
            for session in held:
                session.close()
        report.at_least("sessions_4000", negotiated if outcome.action == "accept" else 0, 4000, "make accept-main")

    def latency(self, report: Report) -> None:
        """End of message with one session and local DNS."""
        p50_ms = median(load(self.stack, self.corpora, 1, 300)["end_of_message_ms"]["p50"] for _ in range(3))
        report.at_most("end_of_message_p50_one_session_ms", p50_ms, 10, load_command(1, 300))

    def cpu(self, report: Report) -> None:
        """CPU of gateway and cluster together, per message, under 32 sessions."""
        cpu_ms = median(load(self.stack, self.corpora, 32, 2000)["cpu_ms_per_message"] for _ in range(3))
        report.at_most("cpu_per_message_32_sessions_ms", cpu_ms, 3.5, load_command(32, 2000))


def milter_address(text: str) -> tuple[int, str]:
    """Port and host of inet:PORT@HOST."""
    port, _, host = text.removeprefix("inet:").partition("@")
    return int(port), host


def attack(milter: str, data: bytes) -> bool:
    """Send bytes, close our sending side, and say whether the gateway closed within 5 s."""
    port, host = milter_address(milter)
    with socket.create_connection((host, port), 5) as client:
        client.settimeout(5)
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
    return True


def load_command(sessions: int, messages: int) -> str:
    """The load as anyone can run it."""
    return f"python -m bench.milter_load --to MILTER --corpus DIR --sessions {sessions} --messages {messages} --pid PID"


def load(stack: Stack, corpora: Path | None, sessions: int, messages: int) -> dict[str, Any]:
    """Run bench.milter_load against the stack and read its figures."""
    if corpora is None:
        raise AssertionError("no corpora")
    command = [sys.executable, "-m", "bench.milter_load", "--to", stack.milter, "--json", "--sessions", str(sessions)]
    command += ["--messages", str(messages), "--corpus", str(corpora / "spamassassin"), "--pid", str(stack.pid)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=180, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def stopped_cleanly(report: Report, stack: Stack) -> Iterator[None]:
    """After the checks: SIGTERM, how long it took, what is left."""
    try:
        yield
    finally:
        stack.stop_up()
        report.at_most("up_stops_s", stack.stop_s, 15, "kill -TERM $(pidof tamis)")
        report.at_most("up_processes_left", len(stack.left), 0, "ps")


def unreachable_cluster(report: Report) -> None:
    """A gateway without any ingress answers 451 within its ingress budget."""
    budget_s = 2.0
    run_dir = Path(f"/tmp/tamis-lonely-{os.getpid()}")
    run_dir.mkdir()
    config, ready = run_dir / "t.toml", run_dir / "ready.json"
    config.write_text(
        f'[gateway]\nlisten = ["inet:0@127.0.0.1"]\nops_listen = "127.0.0.1:0"\n'
        f'ingress = ["127.0.0.1:{free_port()}"]\ningress_budget_s = {budget_s}\n'
    )
    command = [sys.executable, "-m", "gateway", "--config", str(config), "--ready-file", str(ready)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as gateway:
        try:
            wait_for(ready.exists)
            milter, ops = (json.loads(ready.read_text())[key] for key in ("milter", "ops"))
            urlopen(f"http://{ops}/healthz", timeout=5).close()
            started = time.monotonic()
            outcome = asyncio.run(
                play_message(milter, b"Subject: x\r\n\r\nx\r\n", sender=b"a@b.example", recipients=[b"c@d"])
            )
            took_s = time.monotonic() - started
        finally:
            gateway.terminate()
    right = outcome.reply.startswith(b"451")
    report.at_most("bad_cluster_unreachable_s", took_s if right else 1e9, budget_s + 0.5, "tamis send --to GATEWAY F")


def slow_unsampled(report: Report, maker: SampleMaker) -> None:
    """A slow message that was not sampled is exported whole; a fast one is not exported."""
    with Stack(maker.zone(), StackOptions(sample_ratio=0.0, slow_ms=400)) as stack:
        play(stack, maker.samples()[1].raw, "4FAST")
        stack.nameserver.delay_s = (0.6, 0.6)
        play(stack, maker.samples()[0].raw, "4SLOW", b"anna@shop.example")
        spans = wait_for(lambda: stack.receiver.whole_trace("4SLOW"), 20)
        fast = [span for span in stack.receiver.spans if span.attributes.get("mail.queue_id") == "4FAST"]
    report.true("trace_slow_unsampled", not fast, "pytest tests/live/test_trace.py", f"{len(spans)}_spans")
