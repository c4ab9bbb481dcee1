"""From the spans of messages to what each made its actors do. Pure.

An actor's CPU is the time of its run that it did not wait for the outside world: spans know no other, so they are
taken with one session on a machine with little else to do. Actors of one task that ran in turns in one process share
the time that they took together. Questions that were under way together are one round.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.otlp_receiver import ReceivedSpan
from bench.simulation.figures import Examined

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """One actor's part of one task."""

    key: str
    """Stage and actor."""
    interval: Interval
    """Since its replica has the task."""
    waited_ns: int


def examined(spans: Iterable[ReceivedSpan]) -> list[Examined]:
    """One for each message whose spans are complete, in the order in which they came."""
    children: dict[str, list[ReceivedSpan]] = defaultdict(list)
    messages = []
    for span in tuple(spans):
        children[span.parent_span_id].append(span)
        if span.name == "filter.transaction" and span.attributes.get("mail.action") not in ("", "aborted"):
            messages.append(span)
    return [_examined(span, children) for span in sorted(messages, key=lambda span: span.start_ns)]


def _examined(message: ReceivedSpan, children: dict[str, list[ReceivedSpan]]) -> Examined:
    rounds: dict[str, tuple[int, ...]] = {}
    tasks: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for span in children[message.span_id]:
        stage, actor = str(span.attributes["stage"]), span.name.removeprefix("actor.")
        waits = sorted((child.start_ns, child.end_ns) for child in children[span.span_id])
        if waits:
            rounds[f"{stage} {actor}"] = _rounds(waits)
        start_ns = round(float(span.attributes.get("queue_ms", 0.0)) * 1e6)
        end_ns = start_ns + round(float(span.attributes.get("run_ms", 0.0)) * 1e6)
        run = Run(f"{stage} {actor}", (start_ns, end_ns), covered_ns(waits))
        tasks[stage, str(span.attributes.get("replica", ""))].append(run)
    cpu_ms = {key: value for runs in tasks.values() for key, value in _cpu_ms(runs)}
    return Examined(int(message.attributes["mail.bytes"]), cpu_ms, rounds)


def _cpu_ms(runs: Sequence[Run]) -> Iterator[tuple[str, float]]:
    """Of the actors of one task: the time in which any of them ran, shared out by how long each ran itself."""
    own_ns = {run.key: max(0, run.interval[1] - run.interval[0] - run.waited_ns) for run in runs}
    together_ns = covered_ns(sorted(run.interval for run in runs)) - max(run.waited_ns for run in runs)
    share = min(1.0, max(0, together_ns) / (sum(own_ns.values()) or 1))
    for key, ns in own_ns.items():
        yield key, round(ns * share / 1e6, 3)


def covered_ns(waits: Sequence[Interval]) -> int:
    """Time in which at least one of them lasted; in order of their starts."""
    total_ns = until_ns = 0
    for start_ns, end_ns in waits:
        total_ns += max(0, end_ns - max(start_ns, until_ns))
        until_ns = max(until_ns, end_ns)
    return total_ns


def _rounds(waits: Sequence[Interval]) -> tuple[int, ...]:
    """How many were asked together, one number a round: a question belongs to the last round if that was not over."""
    counts: list[int] = []
    until_ns = 0
    for start_ns, end_ns in waits:
        if counts and start_ns < until_ns:
            counts[-1] += 1
        else:
            counts.append(1)
        until_ns = max(until_ns, end_ns)
    return tuple(counts)
