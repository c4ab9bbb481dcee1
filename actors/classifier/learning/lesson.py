"""One lesson: from an example and the weights as they are to the change that it makes. Pure.

Strategy: passive-aggressive steps (Crammer et al. 2006, PA-I). A message that is already on its side by MARGIN changes
nothing; another one is moved there, by SHIFT_MAX at most, rare slots more than common ones (commonness.py). What that
does is known beforehand, so it can be bounded. What a layer has learnt from a message is noted with its step: saying
later that it is something else takes the step back first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice

from actors.classifier.learning.bounds import Bounds, Refusal, Spent, refusal_of
from actors.classifier.learning.delta import DROPPED_MAX, SLOTS_MAX, Part, encode_delta
from actors.classifier.learning.example import Label, outer_layers
from actors.classifier.learning.layers import Rates, Slots, shift_of, step_for
from actors.classifier.learning.weights import Weights

MARGIN = 4.0
"""Log-odds on the right side, 98 %, with which a message counts as learnt. Measured over the SpamAssassin corpus in
order of date, learning from nothing, (1-AUC): 0.16 %, 0.20 % with the rates; logistic gradient steps 0.36 % at best;
AdaGrad 0.15 %, which needs a second table per layer and whose steps nobody can bound."""
SHIFT_MAX = 16.0
"""Of one lesson on one layer: a message of which the model is sure in the wrong way is on its side after one."""


class Done(StrEnum):
    """What came of an example."""

    LEARNT = "learnt"
    RELABELLED = "relabelled"
    FORGOTTEN = "forgotten"
    KNOWN = "known"
    """Learnt before with the same label, or never and to be forgotten: nothing changes."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a layer has learnt from a message."""

    label: Label
    step: int = 0
    share: float = 1.0
    """How strongly it was taught."""

    def settles(self, label: Label, share: float) -> bool:
        """Whether a lesson of this strength changes nothing: the same was said, or the contrary more strongly.

        So no single user undoes in the tenant's layer what was taught in the tenant's name.
        """
        return self.share > share or (self.share == share and self.label is label)

    def to_text(self) -> str:
        """For the journal."""
        return f"{self.label} {self.step} {self.share}"

    @classmethod
    def from_text(cls, text: str) -> "Mark":
        """Raises ValueError."""
        label, step, share = text.split(" ")
        return cls(Label(label), int(step), float(share))


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is to be written down."""

    done: Done
    delta: bytes = b""
    """Empty: no weight changes."""
    marks: Mapping[str, Mark | None] = field(default_factory=dict)
    """By layer, what is to be noted of this message; None: nothing any more."""
    shift: float = 0.0
    """What the source has spent."""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a lesson."""

    source: Bounds
    spent: Spent
    layer_bytes_max: int


@dataclass(frozen=True, slots=True)
class Case:
    """A message that is taught."""

    slots: Slots
    rates: Rates
    base: float
    """Log-odds that the model gives it without any layer."""
    label: Label
    shares: Mapping[str, float]
    """The layers to teach."""
    known: Mapping[str, Mark]
    """What each of them has learnt from this message before."""


def learn(weights: Weights, case: Case, limits: Limits) -> Lesson:
    """The lesson of a message."""
    case = replace(case, slots=case.slots[:SLOTS_MAX], rates=case.rates[:SLOTS_MAX])
    parts: list[Part] = []
    marks: dict[str, Mark | None] = {}
    forget = case.label is Label.FORGET
    for name, share in case.shares.items():
        mark = case.known.get(name)
        if forget if mark is None else mark.settles(case.label, share):
            continue
        before = mark.step if mark is not None else 0
        step = 0 if forget else _step(weights, case, name, before)
        marks[name] = None if forget else Mark(case.label, step, share)
        if step != before:
            parts.append(Part(name, step - before))
    shift = sum(abs(shift_of(part.step, case.rates)) for part in parts)
    refusal = refusal_of(limits.spent, limits.source, 0, shift)
    if refusal is not None:
        return Lesson(Done.REFUSED, refusal=refusal)
    delta = b""
    if parts:
        coming = tuple(part.layer for part in parts)
        dropped = tuple(islice(weights.to_drop(coming, limits.layer_bytes_max), DROPPED_MAX))
        delta = encode_delta(case.slots, case.rates, tuple(parts), dropped)
    return Lesson(_done(case.label, marks, case.known), delta, marks, shift)


def _step(weights: Weights, case: Case, name: str, before: int) -> int:
    """The step on one layer, as if it had not learnt from this message before."""
    side = 1.0 if case.label is Label.SPAM else -1.0
    log_odds = case.base + sum(weights.log_odds(outer, case.slots) for outer in outer_layers(name))
    missing = MARGIN - side * (log_odds - shift_of(before, case.rates))
    return step_for(side * case.shares[name] * min(SHIFT_MAX, missing), case.rates) if missing > 0 else 0


def _done(label: Label, marks: Mapping[str, Mark | None], known: Mapping[str, Mark]) -> Done:
    if not marks:
        return Done.KNOWN
    if label is Label.FORGET:
        return Done.FORGOTTEN
    relabelled = any(known[name].label is not label for name in known.keys() & marks.keys())
    return Done.RELABELLED if relabelled else Done.LEARNT
