"""How good scores are: ROC, recall at a false positive rate, calibration, and how far each figure can be trusted. Pure.

Strategy: a score is any number that grows with spamminess; what has the same score is never told apart, so a filter
that says 1.0 to everything it takes for spam gets half a point for each such pair and no threshold between them. The
area under the ROC curve has DeLong's variance and an interval on the logit scale, as TREC reports it. Recall at a false
positive rate has a bootstrap over ham and spam, since the threshold is as uncertain as the count of spam above it; it
is drawn from its exact distribution, not by resampling. Shares have Wilson's interval. All intervals are 95 %.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]
"""True for spam; as long as the scores."""

_Z: Final = 1.959963984540054
"""Of the normal distribution, between -_Z and _Z lie 95 %."""
_MISSED: Final = 0.05
_BOOTSTRAPS: Final = 4000
_BOOTSTRAP_SEED: Final = 1
_ROC_POINTS_MAX: Final = 1000


class Figure(msgspec.Struct, frozen=True):
    """A measured value and the interval that holds the true one in 95 of 100 such measurements."""

    value: float
    low: float
    high: float


class Recall(msgspec.Struct, frozen=True):
    """The share of spam that scores above a threshold which a share of ham exceeds."""

    false_positive_rate: float
    """What was asked for; so much ham exceeds the threshold, or less where scores are equal."""
    threshold: float
    """A message counts as spam when its score is larger."""
    recall: Figure


class Roc(msgspec.Struct, frozen=True):
    """Corners of the ROC curve from (0, 0) to (1, 1), at most some 1000; both lists ascend."""

    false_positive_rate: list[float]
    recall: list[float]


class Bin(msgspec.Struct, frozen=True):
    """The messages whose probability lies in one tenth of 0 to 1."""

    count: int
    probability: float
    """Their mean probability of spam as the filter told it."""
    spam: Figure
    """Share of spam among them."""


class Slice(msgspec.Struct, frozen=True):
    """The messages that have something in common, judged at the threshold of the whole."""

    name: str
    spam: int
    ham: int
    one_minus_auc_percent: Figure | None
    """None when the slice lacks spam or ham."""
    recall: Figure | None
    false_positive_rate: Figure | None


class Evaluation(msgspec.Struct, frozen=True):
    """All figures of one filter on one set of mail."""

    spam: int
    ham: int
    one_minus_auc_percent: Figure
    recalls: list[Recall]
    brier: float
    """Mean squared error of the probability; 0 is perfect, 0.25 what always saying 0.5 gets."""
    reliability: list[Bin]
    roc: Roc
    slices: dict[str, list[Slice]]
    """What the messages were sliced by, to the slices, the largest first."""


class EvaluationError(ValueError):
    """The set cannot be measured; the text says what it lacks."""


def evaluate(
    log_odds: Sequence[float],
    labels: Sequence[bool],
    rates: Sequence[float],
    slices: Mapping[str, Sequence[Hashable]] | None = None,
) -> Evaluation:
    """Everything about these scores, which are natural log-odds of spam; labels say what is spam.

    `rates` are false positive rates from 0 to 1; slices are judged at the threshold of the first.
    Raises EvaluationError when there is no spam, no ham, or a score that is not a number.
    """
    scores, spam = np.array(log_odds, np.float64), np.array(labels, np.bool_)
    _check(scores, spam)
    probability = sigmoid(scores)
    recalls = [recall_at(scores, spam, rate) for rate in rates]
    return Evaluation(
        spam=int(spam.sum()),
        ham=int((~spam).sum()),
        one_minus_auc_percent=one_minus_auc_percent(scores, spam),
        recalls=recalls,
        brier=float(np.mean((probability - spam) ** 2)),
        reliability=reliability(probability, spam),
        roc=roc(scores, spam),
        slices={kind: slices_by(names, scores, spam, recalls[0].threshold) for kind, names in (slices or {}).items()},
    )


def sigmoid(log_odds: Scores) -> Scores:
    """Probability of natural log-odds, without overflow."""
    result: Scores = 0.5 * (1 + np.tanh(0.5 * log_odds))
    return result


def wilson(count: int, of: int) -> Figure:
    """A share with Wilson's interval; of nothing it is anything from 0 to 1."""
    if not of:
        return Figure(math.nan, 0.0, 1.0)
    share = count / of
    widened = 1 + _Z * _Z / of
    middle = (share + _Z * _Z / (2 * of)) / widened
    half = _Z * math.sqrt(share * (1 - share) / of + _Z * _Z / (4 * of * of)) / widened
    # At the ends the formula gives them but for rounding.
    return Figure(share, 0.0 if not count else middle - half, 1.0 if count == of else middle + half)


def roc(scores: Scores, spam: Labels) -> Roc:
    """The curve through all thresholds; equal scores are one step, which is a slope."""
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    ends = np.append(np.flatnonzero(descending[1:] != descending[:-1]), len(scores) - 1)
    found = np.cumsum(spam[order])[ends]
    mistaken = ends + 1 - found
    # Of a straight run only the ends are corners.
    steps_found, steps_mistaken = np.diff(found, prepend=0), np.diff(mistaken, prepend=0)
    straight = steps_found[:-1] * steps_mistaken[1:] == steps_found[1:] * steps_mistaken[:-1]
    corners = np.append(np.flatnonzero(~straight), len(ends) - 1)
    if len(corners) > _ROC_POINTS_MAX:
        corners = corners[np.linspace(0, len(corners) - 1, _ROC_POINTS_MAX).round().astype(np.intp)]
    return Roc(
        [0.0, *(mistaken[corners] / max(1, int((~spam).sum()))).tolist()],
        [0.0, *(found[corners] / max(1, int(spam.sum()))).tolist()],
    )


def one_minus_auc_percent(scores: Scores, spam: Labels) -> Figure:
    """How often, in percent, a random ham scores above a random spam; equal scores count half. TREC's (1-ROCA)%.

    The interval comes from DeLong's variance on the logit scale; without a single mistaken pair, where there is no
    variance, from the rarer kind: so many messages without a mistake leave 1 - 0.05^(1/n).
    """
    spam_scores, ham_scores = np.sort(scores[spam]), np.sort(scores[~spam])
    of_spam = _share_above(ham_scores, spam_scores)
    of_ham = 1 - _share_above(spam_scores, ham_scores)
    missed = float(of_spam.mean())
    fewer = min(len(spam_scores), len(ham_scores))
    unseen = 1 - _MISSED ** (1 / fewer)
    if not 0 < missed < 1:
        return Figure(100 * missed, 100 * max(0.0, missed - unseen), 100 * min(1.0, missed + unseen))
    variance = _variance_of_mean(of_spam) + _variance_of_mean(of_ham)
    middle = math.log(missed / (1 - missed))
    half = _Z * math.sqrt(variance) / (missed * (1 - missed))
    low, high = sigmoid(np.array([middle - half, middle + half])).tolist()
    return Figure(100 * missed, 100 * low, 100 * high)


def recall_at(scores: Scores, spam: Labels, false_positive_rate: float) -> Recall:
    """The best recall with at most this share of ham above the threshold.

    The interval holds Wilson's, and the bootstrap's over ham and spam: with little ham the threshold is a guess.
    """
    ham = np.sort(scores[~spam])[::-1]
    spam_scores = np.sort(scores[spam])
    # A rate of 0.01 of 300 is 3 messages, though 0.01 * 300 is a little less in binary.
    allowed = min(len(ham), math.floor(false_positive_rate * len(ham) + 1e-9))
    if allowed == len(ham):
        return Recall(false_positive_rate, -math.inf, wilson(len(spam_scores), len(spam_scores)))
    threshold = float(ham[allowed])
    figure = wilson(_count_above(spam_scores, threshold), len(spam_scores))
    low, high = _recall_bootstrap(ham, spam_scores, allowed)
    return Recall(false_positive_rate, threshold, Figure(figure.value, min(figure.low, low), max(figure.high, high)))


def reliability(probability: Scores, spam: Labels, bins: int = 10) -> list[Bin]:
    """Tenths of the told probability that hold any message, lowest first, with the share of spam that was found."""
    index = np.minimum((probability * bins).astype(np.intp), bins - 1)
    filled = []
    for number in np.unique(index).tolist():
        inside = index == number
        count = int(inside.sum())
        share = wilson(int(spam[inside].sum()), count)
        filled.append(Bin(count, float(probability[inside].mean()), share))
    return filled


def slices_by(names: Sequence[Hashable], scores: Scores, spam: Labels, threshold: float) -> list[Slice]:
    """Each name's messages for themselves, the most first; `names` has one for each score."""
    places: dict[Hashable, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    ordered = sorted(places, key=lambda name: (-len(places[name]), str(name)))
    return [_slice(str(name), scores[places[name]], spam[places[name]], threshold) for name in ordered]


def _slice(name: str, scores: Scores, spam: Labels, threshold: float) -> Slice:
    spams, hams = int(spam.sum()), int((~spam).sum())
    above = scores > threshold
    return Slice(
        name,
        spams,
        hams,
        one_minus_auc_percent(scores, spam) if spams and hams else None,
        wilson(int(above[spam].sum()), spams) if spams else None,
        wilson(int(above[~spam].sum()), hams) if hams else None,
    )


def _check(scores: Scores, spam: Labels) -> None:
    for kind, count in (("spam", spam.sum()), ("ham", (~spam).sum())):
        if not count:
            raise EvaluationError(f"there is no {kind} to measure with")
    if np.isnan(scores).any():
        raise EvaluationError("a score is not a number")


def _share_above(others: Scores, scores: Scores) -> Scores:
    """For each of `scores` the share of `others` (ascending) that is larger, equal ones half."""
    below = np.searchsorted(others, scores, "left")
    not_above = np.searchsorted(others, scores, "right")
    share: Scores = 1 - (below + not_above) / (2 * len(others))
    return share


def _variance_of_mean(values: Scores) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def _count_above(ascending: Scores, threshold: float) -> int:
    return len(ascending) - int(np.searchsorted(ascending, threshold, "right"))


def _recall_bootstrap(ham: Scores, spam_scores: Scores, allowed: int) -> tuple[float, float]:
    """Bounds of recall over resamples of `ham` (descending) and `spam_scores` (ascending).

    The (allowed + 1)-th largest of n uniform draws has the beta distribution; where it falls among the ham is the
    threshold of that resample, and the count of spam above it is binomial.
    """
    draw = np.random.default_rng(_BOOTSTRAP_SEED)
    places = draw.beta(allowed + 1, len(ham) - allowed, _BOOTSTRAPS) * len(ham)
    thresholds = ham[np.minimum(places.astype(np.intp), len(ham) - 1)]
    above = 1 - np.searchsorted(spam_scores, thresholds, "right") / len(spam_scores)
    recalls = draw.binomial(len(spam_scores), above) / len(spam_scores)
    low, high = np.quantile(recalls, [_MISSED / 2, 1 - _MISSED / 2]).tolist()
    return low, high
