"""The books of a chaos run, at both ends: what the MTA saw of each message, and what the filter says it answered.

Strategy: pure. The MTA's side is one `Sent` a message. The filter's side are the spans that gateway and ingress export
by queue id, `Ended` and `Judged`, an account that the faults under test do not write. `audit` holds them against each
other and against the rule: every message has exactly one outcome, in time, and nothing passes unscanned and unmarked.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import percentile

PASSED = frozenset({"accept", "quarantine"})
SLACK_S = 0.5
"""How much later than the deadline an answer may reach the MTA."""
_AT_THE_MTA = {"add_header": "accept", "rewrite_subject": "accept", "oversize": "reject"}
"""What the MTA sees of those actions of a verdict that milter has no word for."""
SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as the MTA saw it; times in seconds since the beginning of the load."""

    queue_id: str
    began_s: float
    ended_s: float
    action: str
    """accept, reject, tempfail, discard, quarantine; empty = there was no answer (`error`)."""
    milter: str = ""
    """Address of the gateway that was asked."""
    bytes: int = 0
    harmful: bool = False
    """Nothing but a scan finds what is wrong with it, and no scan may let it pass."""
    blocked: bool = False
    """Its sender is one that the gateway's local rules refuse."""
    waited_s: float = 0.0
    """From the end of the message to the answer."""
    early_waited_s: float = 0.0
    """The longest answer before that."""
    scanned: bool = False
    """It carries the fields of a verdict: X-Spam-Status and Authentication-Results."""
    degraded: str = ""
    """X-Tamis-Degraded."""
    unfiltered: str = ""
    """X-Tamis-Unfiltered."""
    unheard: bool = False
    """The MTA had no answer of the gateway, or died with it: its client keeps the message, whatever the filter said."""
    reply: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the gateway says became of a message."""

    queue_id: str
    action: str
    why: str = ""
    """Of a message that has no verdict, or one with something missing."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict as an ingress says it gave it."""

    queue_id: str
    action: str
    missing: tuple[str, ...] = ()
    """Actors without an answer."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What the gateway promises the MTA."""

    end_of_message_s: float
    early_s: float
    lag_s: float = 0.0
    """How late the load itself may have looked."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What is wrong, one line a message, by kind; empty when the books agree."""

    violations: Mapping[str, list[str]] = field(default_factory=dict)
    unaccounted: int = 0
    """Verdicts that no ingress told of: its last second of spans died with it."""

    def count(self, kind: str) -> int:
        """How many messages are wrong in this way."""
        return len(self.violations.get(kind, ()))

    @property
    def sound(self) -> bool:
        """Nothing is wrong."""
        return not any(self.violations.values())

    @property
    def lines(self) -> list[str]:
        """The first few of each kind."""
        return [f"{kind}: {line}" for kind, lines in self.violations.items() for line in lines[:SHOWN_MAX]]


def audit(sent: Sequence[Sent], ended: Iterable[Ended], judged: Iterable[Judged], deadlines: Deadlines) -> Audit:
    """Hold the accounts against each other.

    Kinds of violation: lost (no outcome), duplicated (two), disagreeing (the gateway ended it otherwise, or does not
    know it), unmarked (passed without the fields of a verdict, or an actor is missing and its mark too), harmful
    (passed although it must not), late.
    """
    endings, verdicts = defaultdict(list), defaultdict(list)
    for ending in ended:
        endings[ending.queue_id].append(_AT_THE_MTA.get(ending.action, ending.action))
    for verdict in judged:
        verdicts[verdict.queue_id].append(verdict)
    violations: dict[str, list[str]] = defaultdict(list)
    unaccounted = 0
    times_sent = Counter(message.queue_id for message in sent)
    for message in sent:
        own = endings[message.queue_id]
        if not message.action:
            violations["lost"].append(f"{message.queue_id} {message.error}")
        elif message.unheard:
            pass
        elif own and message.action not in own:
            violations["disagreeing"].append(f"{message.queue_id} {message.action} at the MTA, {own} at the gateway")
        elif not own and message.waited_s:
            violations["disagreeing"].append(f"{message.queue_id} {message.action}, the gateway does not know it")
        if len(own) > 1 or times_sent[message.queue_id] > 1:
            violations["duplicated"].append(f"{message.queue_id} ended as {own}")
        for kind, what in _faults(message, verdicts[message.queue_id], deadlines):
            violations[kind].append(f"{message.queue_id} {what}")
        unaccounted += message.scanned and not verdicts[message.queue_id]
    return Audit(dict(violations), unaccounted)


def _faults(message: Sent, verdicts: Sequence[Judged], deadlines: Deadlines) -> Iterable[tuple[str, str]]:
    if message.action in PASSED:
        if not (message.scanned or message.unfiltered):
            yield "unmarked", f"{message.action} without the fields of a verdict"
        # Told to two ingresses it may have two verdicts; the mark is that of the one which came through.
        elif not message.degraded and verdicts and all(verdict.missing for verdict in verdicts):
            yield "unmarked", f"{message.action}, without {verdicts[-1].missing} and without saying so"
        if message.harmful:
            yield "harmful", f"{message.action}, degraded: {message.degraded!r}"
    slack_s = SLACK_S + deadlines.lag_s
    if message.waited_s > deadlines.end_of_message_s + slack_s:
        yield "late", f"{message.waited_s:.2f} s after the end of the message"
    if message.early_waited_s > deadlines.early_s + slack_s:
        yield "late", f"{message.early_waited_s:.2f} s before the end of the message"


@dataclass(frozen=True, slots=True)
class Figures:
    """How the messages of one scenario fared."""

    messages: int
    tempfails: int
    degraded: int
    worst_s: float
    over_s: float
    """How much later than a deadline the latest answer came; 0: none did."""
    struck_s: float
    """From the fault to the end of the last message that was not served as before it."""
    recovery_s: float
    """The part of it after the fault was over."""


def figures(sent: Sequence[Sent], broken_s: float, healed_s: float, slow_s: float, deadlines: Deadlines) -> Figures:
    """Count what ended after the fault; what took longer than `slow_s` was not served as usual."""
    mine = [message for message in sent if message.ended_s >= broken_s]
    struck = [message.ended_s for message in mine if not served(message, slow_s)]
    return Figures(
        messages=len(mine),
        tempfails=sum(message.action == "tempfail" for message in mine),
        degraded=sum(bool(message.degraded) for message in mine),
        worst_s=max((message.waited_s for message in mine), default=0.0),
        over_s=max((_over_s(message, deadlines) for message in mine), default=0.0),
        struck_s=max(struck, default=broken_s) - broken_s,
        recovery_s=max(0.0, max(struck, default=healed_s) - healed_s),
    )


def _over_s(message: Sent, deadlines: Deadlines) -> float:
    return max(message.waited_s - deadlines.end_of_message_s, message.early_waited_s - deadlines.early_s, 0.0)


def served(message: Sent, slow_s: float) -> bool:
    """Whether the message got what it gets when nothing is wrong."""
    return bool(message.action) and message.action != "tempfail" and not message.degraded and message.waited_s <= slow_s


def usual_s(sent: Iterable[Sent]) -> float:
    """What a message takes now, 99 of 100."""
    return percentile(sorted(message.waited_s for message in sent if message.waited_s), 99) or 0.0
