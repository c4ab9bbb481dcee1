"""One dead DNS list, clamd stopped and Redis 100 ms slow, all at once: `python -m bench.impaired [--rounds 3]`.

Strategy: rounds with everything well and rounds with all of it impaired take turns, each with a Tamis of its own. Every
message asks the list (SPF `exists:` with a name of its own, as lists are asked), a real clamd with one signature, and
the shared lists in Redis. The dead list's name server says nothing, clamd is stopped (SIGSTOP) in mid-air, and a proxy
holds each answer of Redis back. The load begins before anybody knows what is dead and the first part of it is the
warm-up; latencies are told of it, too. Mail that clamd did not see passes marked, so that every message is judged to
its end in both kinds of rounds; a 451 makes a round worthless. Sessions are many enough that their waiting does not
bound the throughput.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import uvloop

from bench.figures import percentile, show
from bench.milter_load import Options, load
from bench.nameserver import Zone, txt_rdata
from bench.peers import corpus
from bench.peers.processes import Missing, Server, free_port, program
from bench.peers.resolver import DnsManner, LocalResolver
from bench.stack import Stack, StackOptions
from cli.edits import Mail
from cli.mta import MtaOutcome
from cli.mta_stages import Client

DEADLINE_S = 20.0
"""[cluster] end_of_message_s."""
SENDER_DOMAIN = "sender.example"
LIST = "list.example"
REDIS_DELAY_MS = 100
CONFIG = """
[redis]
url = "redis://127.0.0.1:{redis}"
[policy.lists]
redis_prefix = "bench"
[antivirus]
clamd = ["127.0.0.1:{clamd}"]
[policy.on_error]
antivirus = "ignore"
"""
CLAMD_CONFIG = """
Foreground yes
DatabaseDirectory {directory}
TCPSocket {port}
TCPAddr 127.0.0.1
PidFile {directory}/clamd.pid
User root
SelfCheck 0
"""
EICAR_SIGNATURE = "44d88612fea8a8f36de82e1278abb02f:68:Bench.Eicar\n"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round gave."""

    messages_per_s: float
    p50_s: float
    p99_s: float
    first_p99_s: float
    """Of the warm-up, in which what is dead is found out."""
    unanswered: int
    tempfailed: int


def material_of(corpora: Path) -> tuple[list[Mail], Zone]:
    """The mixed corpus, each message from a sender of its own, about whom its domain has a list asked; and the zone."""
    mixed = corpus.mixed(corpora)
    record = f"v=spf1 exists:%{{l}}.{LIST} ?all"
    dns_zone = {**corpus.zone(corpora, mixed), (SENDER_DOMAIN, "TXT"): [txt_rdata(record.encode())]}
    run = os.urandom(4).hex()
    mails = [replace(one.mail, sender=f"n{number}-{run}@{SENDER_DOMAIN}".encode()) for number, one in enumerate(mixed)]
    return mails, dns_zone


@contextmanager
def surroundings(directory: Path, dns_zone: Zone, *, impaired: bool) -> Iterator[Stack]:
    """Resolver, Redis, clamd and `tamis up`; clamd is stopped once all of it runs."""
    with ExitStack() as stack:
        manner = DnsManner(dead_zone=LIST if impaired else "")
        resolver = stack.enter_context(LocalResolver(dns_zone, manner, directory))
        redis_port, proxy_port, clamd_port = free_port(), free_port(), free_port()
        redis = [program("redis-server"), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir"]
        _run(stack, "redis", [*redis, str(directory)], redis_port, directory)
        proxy = [sys.executable, "-m", "bench.slow_proxy", "--to", f"127.0.0.1:{redis_port}", "--port"]
        delay_ms = str(REDIS_DELAY_MS if impaired else 0)
        _run(stack, "proxy", [*proxy, str(proxy_port), "--delay-ms", delay_ms], proxy_port, directory)
        clamd = _clamd(stack, clamd_port, directory)
        extra = CONFIG.format(redis=proxy_port, clamd=clamd_port)
        options = StackOptions(trace=False, nameserver=resolver.address, extra=extra)
        tamis = stack.enter_context(Stack({}, options))
        if impaired:
            os.kill(clamd.pid, signal.SIGSTOP)
            stack.callback(os.kill, clamd.pid, signal.SIGCONT)
        yield tamis


def _clamd(stack: ExitStack, port: int, directory: Path) -> Server:
    database = directory / "clamav"
    database.mkdir()
    (database / "bench.hdb").write_text(EICAR_SIGNATURE)
    config = directory / "clamd.conf"
    config.write_text(CLAMD_CONFIG.format(directory=database, port=port))
    return _run(stack, "clamd", [program("clamd"), "--config-file", str(config)], port, directory)


def _run(stack: ExitStack, name: str, command: Sequence[str], port: int, directory: Path) -> Server:
    server = Server(name, command, directory)
    stack.callback(server.stop)
    server.wait_listening(port)
    return server


def measure(material: Sequence[Mail], dns_zone: Zone, args: argparse.Namespace, *, impaired: bool) -> Figures:
    """One round."""
    with (
        tempfile.TemporaryDirectory(prefix="tamis-impaired-", dir="/tmp") as directory,
        surroundings(Path(directory), dns_zone, impaired=impaired) as tamis,
    ):
        parts = material[: args.messages], material[args.messages : 2 * args.messages]
        first, _ = _send(tamis, parts[0], args.sessions)
        outcomes, wall_s = _send(tamis, parts[1], args.sessions)
    waits_s, first_waits_s = _waits(outcomes), _waits(first)
    return Figures(
        messages_per_s=len(outcomes) / wall_s,
        p50_s=percentile(waits_s, 50) or 0.0,
        p99_s=percentile(waits_s, 99) or 0.0,
        first_p99_s=percentile(first_waits_s, 99) or 0.0,
        unanswered=sum(bool(one.error) for one in (*first, *outcomes)),
        tempfailed=sum(one.action == "tempfail" for one in outcomes),
    )


def _send(tamis: Stack, part: Sequence[Mail], sessions: int) -> tuple[list[MtaOutcome], float]:
    client = Client(ip=corpus.CLIENT_IP, hostname=corpus.CLIENT_NAME.encode())
    return uvloop.run(load(Options(tamis.milter, (), sessions, len(part), 300.0, (tamis.pid,), client), part))


def _waits(outcomes: Sequence[MtaOutcome]) -> list[float]:
    return sorted(one.end_of_message_s for one in outcomes if one.end_of_message_s)


def main() -> int:
    """All rounds; 1 when a message got no answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, default=Path(os.environ.get("TAMIS_CORPORA", ".test-data")))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=160)
    parser.add_argument("--messages", type=int, default=1600, help="of the warm-up and of what is measured, each")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    material, dns_zone = material_of(args.corpora)
    well, ill = [], []
    try:
        for _ in range(args.rounds):
            well.append(measure(material, dns_zone, args, impaired=False))
            ill.append(measure(material, dns_zone, args, impaired=True))
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    figures: dict[str, object] = {}
    for name, rounds in (("healthy", well), ("impaired", ill)):
        for key in ("messages_per_s", "p50_s", "p99_s", "first_p99_s"):
            figures[f"{name}_{key}"] = round(median(getattr(one, key) for one in rounds), 3)
        figures[f"{name}_unanswered"] = sum(one.unanswered for one in rounds)
        figures[f"{name}_tempfailed"] = sum(one.tempfailed for one in rounds)
    shares = [one.messages_per_s / other.messages_per_s for one, other in zip(ill, well, strict=True)]
    figures["throughput_share"] = round(median(shares), 3)
    show(figures, as_json=args.json)
    return 1 if sum(one.unanswered for one in (*well, *ill)) else 0


if __name__ == "__main__":
    sys.exit(main())
