"""One filter measured once: started, warmed, asked by one session and by many, or with slow DNS; then stopped again.

What makes a measurement worthless (mail without an answer, a degraded or shed verdict) is counted and told with it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.figures import percentile
from bench.milter_load import Options, load
from bench.nameserver import Zone
from bench.peers.corpus import CLIENT_IP, CLIENT_NAME, Labelled
from bench.peers.filters import Filter, Judged, Running, Surroundings
from bench.peers.resolver import DnsManner, LocalResolver
from bench.process_tree import TreeUsage, tree_usage
from bench.stack import StackOptions
from cli.mta import MtaOutcome
from cli.mta_stages import Client

TIME_MAX_S = 60.0
"""Of one load: a slow filter then gets fewer messages."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent."""

    sessions: int
    messages: int
    client_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to a filter between its start and its end."""

    dns: DnsManner
    warm_up: Load
    loads: tuple[Load, ...]


LOCAL = Plan(DnsManner(), Load(8, 200), (Load(1, 300), Load(32, 1600)))
"""DNS at hand: one session, then as much as the filter takes."""
SLOW = Plan(DnsManner(delay_ms=(20.0, 40.0)), Load(8, 40), (Load(4, 240, client_delay_s=0.030),))
"""DNS answers in 20 to 40 ms, the client's commands come 30 ms apart."""


@dataclass(frozen=True, slots=True)
class Material:
    """What is measured with."""

    corpora: Path
    mails: Sequence[Labelled]
    zone: Zone
    tamis: str = ""
    """Further sections of our configuration."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one load gave; shares are of the messages of which the truth is known."""

    messages: int
    unanswered: int
    tempfailed: int
    degraded: int
    messages_per_s: float
    cpu_ms: float
    cpu_ms_by_process: dict[str, float]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    pss_mb: float
    rss_mb: float
    dkim_pass: float
    spam_found: float
    ham_mistaken: float

    @property
    def valid(self) -> bool:
        """Every message got its whole verdict."""
        return not (self.unanswered or self.tempfailed or self.degraded)


@dataclass(frozen=True, slots=True)
class Round:
    """What one start gave: memory before any mail, and the figures of each load in turn."""

    rest_pss_mb: float
    loads: tuple[Figures, ...]


def measure(one: Filter, plan: Plan, material: Material) -> Round:
    """Start, measure, stop. Raises StartFailed, Missing."""
    mails = material.mails
    with (
        tempfile.TemporaryDirectory(prefix="tamis-peers-", dir="/tmp") as directory,
        LocalResolver(material.zone, plan.dns, Path(directory)) as resolver,
    ):
        # Nothing is kept in unbound when DNS is slow; what we keep of "no such name" would be too good to be true.
        dns = "negative_ttl_s = 0" if any(plan.dns.delay_ms) else ""
        options = StackOptions(trace=False, nameserver=resolver.address, dns=dns, extra=material.tamis)
        around = Surroundings(Path(directory), resolver.address, material.corpora, options)
        with one.start(around) as running:
            rest = tree_usage(running.pids)
            sent = plan.warm_up.messages
            figures_of(one, running, plan.warm_up, mails[:sent])
            figures = []
            for wanted in plan.loads:
                count = min(wanted.messages, one.messages or wanted.messages)
                figures.append(figures_of(one, running, wanted, mails[sent : sent + count]))
                sent += count
    return Round(rest.pss_bytes / 1e6, tuple(figures))


def figures_of(one: Filter, running: Running, wanted: Load, mails: Sequence[Labelled]) -> Figures:
    """Send each of the mails once."""
    judged: list[tuple[Labelled, Judged]] = []

    def heard(number: int, outcome: MtaOutcome) -> None:
        judged.append((mails[number], one.judge(outcome)))

    client = Client(ip=CLIENT_IP, hostname=CLIENT_NAME.encode(), delay_s=wanted.client_delay_s)
    options = Options(running.milter, (), wanted.sessions, len(mails), TIME_MAX_S, running.pids, client)
    before = tree_usage(running.pids)
    outcomes, wall_s = uvloop.run(load(options, [each.mail for each in mails], heard))
    return summary(outcomes, judged, wall_s, tree_usage(running.pids).since(before))


def summary(
    outcomes: Sequence[MtaOutcome], judged: Sequence[tuple[Labelled, Judged]], wall_s: float, usage: TreeUsage
) -> Figures:
    """The figures of one load. Pure."""
    count = max(len(outcomes), 1)
    waits_ms = sorted(one.end_of_message_s * 1000 for one in outcomes if one.end_of_message_s)
    return Figures(
        messages=len(outcomes),
        unanswered=sum(bool(one.error) for one in outcomes),
        tempfailed=sum(one.action == "tempfail" for one in outcomes),
        degraded=sum(said.degraded for _, said in judged),
        messages_per_s=len(outcomes) / wall_s,
        cpu_ms=usage.cpu_s * 1000 / count,
        cpu_ms_by_process={name: round(cpu_s * 1000 / count, 3) for name, cpu_s in usage.cpu_s_by_name.items()},
        p50_ms=percentile(waits_ms, 50) or 0.0,
        p95_ms=percentile(waits_ms, 95) or 0.0,
        p99_ms=percentile(waits_ms, 99) or 0.0,
        pss_mb=usage.pss_bytes / 1e6,
        rss_mb=usage.rss_bytes / 1e6,
        dkim_pass=_share([said.dkim_pass for true, said in judged if true.signed]),
        spam_found=_share([said.spam for true, said in judged if true.spam]),
        ham_mistaken=_share([said.spam for true, said in judged if true.spam is False]),
    )


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 0.0
