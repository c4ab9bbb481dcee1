"""What two verdicts on one message differ in: one line of the report. Pure.

A line holds names, numbers and outcomes: no content, no address and no text that either could be in. Reasons
are compared by what stands before their colon (the rule or the source of points), findings by actor, name and outcome.
Only what differs is listed, so that most lines are short. What a side did not ask, or not wait for, is no difference.
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
    return Difference(
        _side(live, live_ms, live_reasons - mirrored_reasons),
        _side(mirrored, mirrored_ms, mirrored_reasons - live_reasons),
        _findings(_Found(live.findings), _Found(mirrored.findings)),
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


class _Found:
    """The outcomes of one side by actor/name, and the actors that it did not ask or not wait for."""

    def __init__(self, findings: Iterable[verdict_pb2.Finding]) -> None:
        outcomes: defaultdict[str, list[str]] = defaultdict(list)
        self._left_out: set[str] = set()
        for finding in findings:
            actor = _name(finding.actor)
            if finding.outcome == "skipped" and finding.name == finding.actor:
                self._left_out.add(actor)
            else:
                outcomes[f"{actor}/{_name(finding.name)}"].append(_name(finding.outcome))
        self.outcomes = {name: "+".join(sorted(several))[:NAME_CHARS_MAX] for name, several in outcomes.items()}

    def silent_about(self, name: str) -> bool:
        """Whether this side might have found it, had it asked."""
        return name not in self.outcomes and name.partition("/")[0] in self._left_out


def _findings(live: _Found, mirrored: _Found) -> tuple[FindingDifference, ...]:
    names = sorted(
        name
        for name in live.outcomes.keys() | mirrored.outcomes.keys()
        if live.outcomes.get(name) != mirrored.outcomes.get(name)
        and not (live.silent_about(name) or mirrored.silent_about(name))
    )[:LISTED_MAX]
    return tuple(
        FindingDifference(name, live.outcomes.get(name, ""), mirrored.outcomes.get(name, "")) for name in names
    )


def _name(text: str) -> str:
    """A name without what no name has: the other cell may be of any release."""
    return "".join(char if char.isprintable() and char != "@" else "?" for char in text[:NAME_CHARS_MAX])
