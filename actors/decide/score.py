"""The score: points by named sources, in hundredths, so that the reasons add up to it exactly.

The classifier's probability becomes points on a line through four points, linear in the decimal logarithm of the
odds between them, relative to the odds at `classifier_spam_probability`:

    a 1000th of those odds and less   classifier_points_min
    a tenth                           0
    the same                          add_header_score
    1000 times and more               classifier_points_max
"""

import itertools
import math
from collections.abc import Iterable, Iterator

import msgspec

from actors.config import PolicyConfig
from actors.decide.dmarc import is_forgiven
from actors.model import Finding, Outcome

_PROBABILITY_MARGIN = 1e-9
"""Probabilities are kept this far from 0 and 1, where the odds have no logarithm."""


class Points(msgspec.Struct, frozen=True):
    """What one source adds to the score."""

    source: str
    """classifier, spf, dmarc, or the symbol as configured."""
    hundredths: int
    why: str

    @property
    def reason(self) -> str:
        """One line for the log."""
        return f"{self.source}: {self.hundredths / 100:+.2f}, {self.why}"


def score_points(findings: Iterable[Finding], dmarc: Finding | None, policy: PolicyConfig) -> tuple[Points, ...]:
    """All points that are not 0, largest first."""
    findings = tuple(findings)
    points = [*_classifier(findings, policy), *_authentication(findings, dmarc, policy)]
    if policy.symbol_points:
        points += _symbols((*findings, dmarc) if dmarc else findings, policy)
    return tuple(sorted((p for p in points if p.hundredths), key=lambda p: (-abs(p.hundredths), p.source)))


def classifier_points(probability: float, policy: PolicyConfig) -> float:
    """Points of a spam probability; see the module's table."""
    decades = _log_odds(probability) - _log_odds(policy.classifier_spam_probability)
    line = (
        (-3.0, policy.classifier_points_min),
        (-1.0, 0.0),
        (0.0, policy.add_header_score),
        (3.0, policy.classifier_points_max),
    )
    if decades <= line[0][0]:
        return line[0][1]
    for (left, low), (right, high) in itertools.pairwise(line):
        if decades <= right:
            return low + (high - low) * (decades - left) / (right - left)
    return line[-1][1]


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, _PROBABILITY_MARGIN), 1 - _PROBABILITY_MARGIN)
    return math.log10(bounded / (1 - bounded))


def _classifier(findings: tuple[Finding, ...], policy: PolicyConfig) -> Iterator[Points]:
    probabilities = [
        f.score
        for f in findings
        if f.actor == "classifier" and f.outcome in (Outcome.HAM, Outcome.SPAM) and math.isfinite(f.score)
    ]
    if probabilities:
        probability = max(probabilities)
        points = classifier_points(probability, policy)
        yield Points("classifier", round(points * 100), f"spam probability {probability:.4f}")


def _authentication(findings: tuple[Finding, ...], dmarc: Finding | None, policy: PolicyConfig) -> Iterator[Points]:
    if dmarc is not None and (dmarc.outcome is Outcome.PASS or is_forgiven(dmarc)):
        # An aligned pass vouches for the author: an SPF failure beside it is forwarding, not forgery.
        return
    spf = {f.outcome for f in findings if f.actor == "policy" and f.name == "spf"}
    for outcome in sorted(spf):
        points = policy.spf_points.get(outcome.value, 0.0)
        yield Points("spf", round(points * 100), f"SPF {outcome}")
    if dmarc is not None and dmarc.outcome is Outcome.FAIL:
        published = dmarc.facts.get("policy.dmarc", "none")
        points = policy.dmarc_points.get(published, 0.0)
        yield Points("dmarc", round(points * 100), f"DMARC fail, policy {published}")


def _symbols(findings: Iterable[Finding], policy: PolicyConfig) -> Iterator[Points]:
    """Points for `actor.name` and `actor.name.outcome`, each symbol once however many findings it has."""
    seen: set[str] = set()
    for finding in findings:
        plain = f"{finding.actor}.{finding.name}"
        seen.update((plain, f"{plain}.{finding.outcome}"))
    for symbol in sorted(seen & policy.symbol_points.keys()):
        yield Points(symbol, round(policy.symbol_points[symbol] * 100), "configured in symbol_points")
