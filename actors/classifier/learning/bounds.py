"""What one source may teach in a day, so that nobody turns the model by teaching much. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class SourceKind(StrEnum):
    """Who teaches; each kind has bounds of its own."""

    USER = "user"
    TENANT = "tenant"
    TRAP = "trap"
    OPERATOR = "operator"


class Refusal(StrEnum):
    """Why something is not learnt."""

    TOO_MANY = "too_many"
    """The source has taught as many messages today as it may."""
    TOO_MUCH = "too_much"
    """What the source has taught today has moved the weights as far as it may."""
    BACKLOG = "backlog"
    """Too much waits to be learnt; try again later."""
    UNREADABLE = "unreadable"
    """The example was damaged, or none of this release."""
    CRASHES = "crashes"
    """Trainers have died of it again and again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one source and day."""

    examples: int
    shift: float
    """Sum of the absolute changes, in log-odds of the messages that were taught."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a source has taught on a day."""

    examples: int = 0
    shift: float = 0.0


def refusal_of(spent: Spent, bounds: Bounds, examples: int, shift: float) -> Refusal | None:
    """Why so many more examples, or so much more shift, would be too much; None when they may be."""
    if spent.examples + examples > bounds.examples:
        return Refusal.TOO_MANY
    if spent.shift + shift > bounds.shift:
        return Refusal.TOO_MUCH
    return None
