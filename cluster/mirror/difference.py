"""What two verdicts on one message differ in: one line of the report. Pure.

A line holds names, numbers and outcomes: no content, no address and no text that either could be in. Reasons
are compared by what stands before their colon (the rule or the source of points), findings by actor, name and outcome.
Only what differs is listed, so that most lines are short. What an actor found counts only where both sides asked it.
"""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from tamis.filter.v1 import verdict_pb2

NAME_CHARS_MAX = 80
LISTED_MAX = 50
"""Differing findings and reasons of one message that are listed."""


class Side(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the two verdicts."""

    action: str
    """As in the contract, "add_header"."""
    score: float
    ms: float
    """From the end of the message to the verdict, in milliseconds."""
    degraded: bool = False
    reasons: tuple[str, ...] = ()
    """Names of the reasons that the other one has not."""


class FindingDifference(msgspec.Struct, frozen=True, array_like=True):
    """A finding that differs; several of one name are one, their outcomes sorted and joined."""

    name: str
    """actor/name, "dkim/arc"."""
    live: str
    """Outcomes; empty = no such finding."""
    mirrored: str


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """The two verdicts on one message."""

    live: Side
    mirrored: Side
    findings: tuple[FindingDifference, ...] = ()

    @property
    def same_action(self) -> bool:
        """Whether the SMTP client would have been told the same."""
        return self.live.action == self.mirrored.action


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the report: a comparison, a copy that got no verdict, or how many were never sent."""

    at: float
    """Unix time in seconds."""
    id: str = ""
    """Transaction id in hexadecimal digits, as both cells know it."""
    queue_id: str = ""
    difference: Difference | None = None
    failed: str = ""
    """Why the copy got no verdict: late, lost, overloaded, draining, malformed, internal."""
    dropped: dict[str, int] = {}
    """Copies that were never sent since the last such line, by why: full, unreachable."""


def compare(live: verdict_pb2.Verdict, live_ms: float, mirrored: verdict_pb2.Verdict, mirrored_ms: float) -> Difference:
    """What differs between the verdict that counted and the one on the copy."""
    live_reasons, mirrored_reasons = _reasons(live.reasons), _reasons(mirrored.reasons)
    left_out = _left_out(live.findings) | _left_out(mirrored.findings)
    return Difference(
        _side(live, live_ms, live_reasons - mirrored_reasons),
        _side(mirrored, mirrored_ms, mirrored_reasons - live_reasons),
        _findings(_outcomes(live.findings, left_out), _outcomes(mirrored.findings, left_out)),
    )


def _side(verdict: verdict_pb2.Verdict, ms: float, reasons: Iterable[str]) -> Side:
    return Side(
        action_name(verdict.action),
        round(verdict.score, 2),
        round(ms, 1),
        verdict.degraded,
        tuple(sorted(reasons)[:LISTED_MAX]),
    )


def action_name(action: int) -> str:
    """The action in lower case; one of a later release by its number."""
    known = action in verdict_pb2.Action.values()
    return verdict_pb2.Action.Name(action).removeprefix("ACTION_").lower() if known else f"action_{action}"


def _reasons(reasons: Iterable[str]) -> set[str]:
    return {_name(reason.partition(":")[0]) for reason in reasons}


def _left_out(findings: Iterable[verdict_pb2.Finding]) -> set[str]:
    """Actors that were not asked, or whose answer was not waited for."""
    return {_name(finding.actor) for finding in findings if finding.outcome == "skipped"}


def _outcomes(findings: Iterable[verdict_pb2.Finding], left_out: set[str]) -> dict[str, str]:
    outcomes: defaultdict[str, list[str]] = defaultdict(list)
    for finding in findings:
        if (actor := _name(finding.actor)) not in left_out:
            outcomes[f"{actor}/{_name(finding.name)}"].append(_name(finding.outcome))
    return {name: "+".join(sorted(several))[:NAME_CHARS_MAX] for name, several in outcomes.items()}


def _findings(live: dict[str, str], mirrored: dict[str, str]) -> tuple[FindingDifference, ...]:
    names = sorted(name for name in live.keys() | mirrored.keys() if live.get(name) != mirrored.get(name))
    return tuple(FindingDifference(name, live.get(name, ""), mirrored.get(name, "")) for name in names[:LISTED_MAX])


def _name(text: str) -> str:
    """A name without what no name has: the other cell may be of any release."""
    return "".join(char if char.isprintable() and char != "@" else "?" for char in text[:NAME_CHARS_MAX])
