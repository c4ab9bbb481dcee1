"""Restarts of the gateway under SMTP load: a real Postfix, SMTP clients with several messages a connection, a sink.

    python -m bench.restarts --restarts 20 [--sessions 12] [--json]

Strategy: the gateway runs under the stand-in for systemd (bench/service_manager.py), with a socket passed to it and a
file descriptor store; an ingress in this process judges after 0 to 80 ms. Clients write slowly now and then, also amid
DATA, and keep their connections over many messages. Counted: every reply that is not 2xx or 3xx, messages that were
accepted and never reached the sink, and messages that reached it twice. Needs root and Debian's postfix.
"""

import argparse
import asyncio
import json
import random
import re
import smtplib
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.figures import percentile, show
from bench.postfix import Postfix, why_not
from bench.service_manager import ManagedService
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tests.gateway.fake_ingress import FakeIngress, Heard, let_in, serve, verdict

PROJECT = Path(__file__).resolve().parent.parent
MESSAGES_PER_CONNECTION = 8
VERDICT_S = (0.0, 0.005, 0.02, 0.08)
BETWEEN_RESTARTS_S = 0.5
DELIVERY_S = 60.0
THINKS = 0.1
THINK_S = 3.0
"""A client that thinks this long between two messages is what a restart without a store answers with 451."""

_KEY = re.compile(rb"^X-Key: (\S+)", re.MULTILINE)


class Ingress:
    """Context manager: an ingress in a thread of its own that accepts everything after a while."""

    def __init__(self) -> None:
        self.target = ""
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        fake = FakeIngress()
        chance = random.Random(11)

        def accept_later(heard: Heard) -> filter_pb.Answer | None:
            del fake.open[heard.number]
            self._loop.call_later(chance.choice(VERDICT_S), fake.push, verdict()(heard))
            return None

        def let_in_later(heard: Heard) -> filter_pb.Answer | None:
            self._loop.call_later(chance.choice(VERDICT_S), fake.push, let_in(heard))
            return None

        fake.judge, fake.recipient = accept_later, let_in_later
        server, self.target = await serve(fake)
        self._up.set()
        await self._over.wait()
        await server.stop(None)


@dataclass
class Count:
    """What the SMTP clients saw."""

    accepted: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    """From each command to its reply."""


class Client(threading.Thread):
    """SMTP connections one after the other, several messages on each."""

    def __init__(self, number: int, port: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.count = Count()
        self._number = number
        self._port = port
        self._over = over
        self._random = random.Random(number)
        self._sent = 0

    def run(self) -> None:
        """The thread."""
        while not self._over.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self._port, timeout=60) as client:
                    client.ehlo("client.example")
                    for _ in range(MESSAGES_PER_CONNECTION):
                        if self._over.is_set():
                            break
                        self._message(client)
                        if self._random.random() < THINKS:
                            time.sleep(self._random.random() * THINK_S)
            except (OSError, smtplib.SMTPException) as error:
                self.count.refused[f"{type(error).__name__}: {error}"[:80]] += 1

    def _message(self, client: smtplib.SMTP) -> None:
        self._sent += 1
        key = f"{self._number}-{self._sent}"
        for command in (f"MAIL FROM:<k{key}@friends.example>", "RCPT TO:<reader@recipient.example>", "DATA"):
            self._pause()
            if not self._heard(client, command):
                client.docmd("RSET")
                return
        head = f"From: ben@friends.example\r\nX-Key: {key}\r\nMessage-ID: <{key}@friends.example>\r\n\r\n"
        for part in (head, "line\r\n" * self._random.choice([1, 100, 5000]), "end\r\n"):
            client.send(part)
            self._pause()
        if self._heard(client, "."):
            self.count.accepted.append(key)

    def _heard(self, client: smtplib.SMTP, command: str) -> bool:
        began_s = time.monotonic()
        code, text = client.docmd(command)
        self.count.waits_s.append(time.monotonic() - began_s)
        if code >= 400:
            self.count.refused[f"{command.split(' ', 1)[0]}: {code} {text.decode('latin-1')[:60]}"] += 1
        return code < 400

    def _pause(self) -> None:
        if self._random.random() < 0.2:
            time.sleep(self._random.random() * 0.4)


def measure(restarts: int, sessions: int, stored_files_max: int = 8192) -> dict[str, object]:
    """One run; every figure with its unit in its name."""
    with tempfile.TemporaryDirectory(prefix="tamis-restarts-", dir="/tmp") as directory, Ingress() as ingress:
        place = Path(directory)
        config = place / "tamis.toml"
        config.write_text(f'[gateway]\ningress = ["{ingress.target}"]\nops_listen = ""\n')
        listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        command = [sys.executable, "-m", "gateway", "--config", str(config)]
        milter = f"inet:{listening.getsockname()[1]}@127.0.0.1"
        manager = ManagedService(
            command, {"milter": listening}, place / "log", cwd=PROJECT, stored_files_max=stored_files_max
        )
        with listening, manager as service, Postfix(milter) as postfix:
            return _restart_under_load(service, postfix, restarts, sessions, place / "log")


def _restart_under_load(
    service: ManagedService, postfix: Postfix, restarts: int, sessions: int, log: Path
) -> dict[str, object]:
    over = threading.Event()
    clients = [Client(number, postfix.port, over) for number in range(sessions)]
    began_s = time.monotonic()
    for client in clients:
        client.start()
    restart_s = []
    for _ in range(restarts):
        time.sleep(BETWEEN_RESTARTS_S)
        restart_s.append(service.restart())
    over.set()
    for client in clients:
        client.join(60)
    wall_s = time.monotonic() - began_s
    accepted = [key for client in clients for key in client.count.accepted]
    delivered = Counter(
        match[1].decode() for raw in postfix.delivered(len(accepted), DELIVERY_S) if (match := _KEY.search(raw))
    )
    refused: Counter[str] = sum((client.count.refused for client in clients), Counter())
    waits_s = sorted(wait for client in clients for wait in client.count.waits_s)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        "restarts": restarts,
        "messages": len(accepted),
        "messages_per_s": round(len(accepted) / wall_s, 1),
        "tempfailed": sum(count for text, count in refused.items() if re.search(r": 4\d\d ", text)),
        "other_errors": sum(count for text, count in refused.items() if not re.search(r": 4\d\d ", text)),
        "lost": sum(key not in delivered for key in accepted),
        "duplicated": sum(count > 1 for count in delivered.values()),
        "sessions_handed_over": sum(line["sessions"] for line in events if line["event"] == "sessions_resumed"),
        "sessions_closed": sum(line["event"] == "session_closed" for line in events),
        "restart_ms": {"p50": _ms(sorted(restart_s), 50), "max": _ms(sorted(restart_s), 100)},
        "smtp_reply_ms": {"p50": _ms(waits_s, 50), "p99": _ms(waits_s, 99), "max": _ms(waits_s, 100)},
        "errors": dict(refused.most_common(5)),
    }


def _ms(sorted_s: list[float], percent: float) -> float:
    return round((percentile(sorted_s, percent) or 0.0) * 1000, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=12, help="SMTP connections at a time")
    parser.add_argument("--no-store", action="store_true", help="for comparison: a manager that keeps no files")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    missing = why_not()
    if missing:
        print(f"bench.restarts: {missing}", file=sys.stderr)
        return 2
    figures = measure(options.restarts, options.sessions, 0 if options.no_store else 8192)
    show(figures, as_json=options.json)
    return 1 if any(figures[name] for name in ("tempfailed", "other_errors", "lost", "duplicated")) else 0


if __name__ == "__main__":
    sys.exit(main())
