"""Learning in date order, as TREC measured filters: every message is scored first and then learned.

Strategy: logistic regression that starts from nothing, one AdaGrad step a message. A message's value is the sum of its
slots' weights, scaled down gently by their count. What is told of it is that value in relation to how little its
slots have been seen: the log-odds that remain when the weights' uncertainty is averaged over (MacKay 1992: a logistic
of z with variance v is about one of z / sqrt(1 + v pi/8)). Without that a newsletter in a flood of nothing but spam
gets as sure a verdict as the thousandth copy of a known one.
"""

import email.utils
import math
import re
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from actors.classifier import features
from actors.classifier.corpus import Sample
from actors.model import Message

Slots = NDArray[np.uint32]

_RATE: Final = 0.03
_SQUARES_AT_START: Final = 1e-4
_LENGTH_POWER: Final = 0.15
"""Of the count of slots, by which the sum is divided: 0.5 would make every message equally long, 0 none."""
_SEEN_AT_START: Final = 0.01
_VARIANCE: Final = 0.03
"""Of a weight whose slot was in one short message; it falls with the count."""
_BIAS_RATE: Final = 0.02
_HEADER_BYTES_MAX: Final = 64 * 1024
_RECEIVED: Final = re.compile(rb"(?im)^received:[^;]{0,4000}+;([^;]{1,100}?)$")
_DATE: Final = re.compile(rb"(?im)^date:(.{1,100})$")
_MBOX_DATE: Final = re.compile(rb"\AFrom \S{1,300} {1,3}(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4})")
_FOLD: Final = re.compile(rb"\r?\n[ \t]")


class Learner(Protocol):
    """A filter that learns while it works."""

    def score(self, message: Message) -> float:
        """Natural log-odds of spam."""
        ...

    def learn(self, message: Message, spam: bool) -> None:  # noqa: FBT001  the label is what there is to say
        """Take notice of what the message was."""
        ...


class OnlineRegression:
    """The learner of ours: logistic regression on the slots of `features.grams`."""

    def __init__(self) -> None:
        self._weights = np.zeros(features.SLOTS, np.float32)
        self._squares = np.full(features.SLOTS, _SQUARES_AT_START, np.float32)
        self._seen = np.full(features.SLOTS, _SEEN_AT_START, np.float32)
        self._bias = 0.0

    def score(self, message: Message) -> float:
        """Natural log-odds of spam, the nearer to 0 the less is known."""
        slots = features.grams(message).distinct
        scale = _scale(slots)
        variance = _VARIANCE * scale * scale * float((1 / self._seen[slots]).sum())
        return self._value(slots, scale) / math.sqrt(1 + math.pi / 8 * variance)

    def learn(self, message: Message, spam: bool) -> None:  # noqa: FBT001
        """One step of gradient descent on the logistic loss."""
        slots = features.grams(message).distinct
        scale = _scale(slots)
        error = 0.5 * (1 + math.tanh(0.5 * self._value(slots, scale))) - spam
        gradient = np.float32(error * scale)
        self._squares[slots] += gradient * gradient
        self._weights[slots] -= np.float32(_RATE) * gradient / np.sqrt(self._squares[slots])
        self._seen[slots] += np.float32(scale * scale)
        self._bias -= _BIAS_RATE * error

    def _value(self, slots: Slots, scale: float) -> float:
        return float(self._weights[slots].sum()) * scale + self._bias


def _scale(slots: Slots) -> float:
    return float(len(slots) ** -_LENGTH_POWER)


def run(learner: Learner, messages: Sequence[tuple[Message, bool]]) -> Iterator[float]:
    """The score of each message before it was learned, in the order given."""
    for message, spam in messages:
        yield learner.score(message)
        learner.learn(message, spam)


def in_date_order(samples: Sequence[Sample]) -> list[Sample]:
    """As they were received; what has no date comes last. Samples of the same second keep their order."""
    return sorted(samples, key=lambda sample: received_at(sample.raw))


def received_at(raw: bytes) -> float:
    """When a collected file was received, in seconds since 1970; infinity when it does not say.

    The topmost Received field that has a date is the collector's own clock. Without one the mbox line, then the Date,
    which is whatever the sender wrote.
    """
    head = _FOLD.sub(b" ", raw[:_HEADER_BYTES_MAX].replace(b"\r\n", b"\n").partition(b"\n\n")[0])
    for pattern in (_RECEIVED, _MBOX_DATE, _DATE):
        for match in pattern.finditer(head):
            seconds = _seconds(match[1])
            if seconds is not None:
                return seconds
    return math.inf


def _seconds(date: bytes) -> float | None:
    parsed = email.utils.parsedate_tz(date.decode("latin-1").strip())
    try:
        return None if parsed is None else float(email.utils.mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None
