"""What each level keeps of the time that is left, so that its answer arrives before the level above gives up. Pure."""

_ANSWER_MARGIN = (0.1, 0.1)
_ACTOR_MARGIN = (0.05, 0.05)
"""(seconds, share of the budget), the smaller counts: time kept to decide and answer, and for the result's way back."""


def answer_margin_s(left_s: float) -> float:
    """How much of what is left of a deadline is kept to decide and answer."""
    return _margin_s(_ANSWER_MARGIN, left_s)


def budget_ms(left_s: float) -> int:
    """What an actor gets of it, at least 1."""
    return max(1, int((left_s - _margin_s(_ACTOR_MARGIN, left_s)) * 1000))


def _margin_s(margin: tuple[float, float], budget_s: float) -> float:
    seconds, share = margin
    return min(seconds, max(0.0, budget_s) * share)
