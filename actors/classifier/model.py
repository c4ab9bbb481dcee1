"""The spam model: a linear score over hashed features, a calibration, and the card that says what it is.

The weights are a safetensors file, never a pickle; its card (JSON beside it, same name) carries the SHA-256, so a
truncated or exchanged file is refused when it is loaded, not noticed when mail goes wrong.
"""

import hashlib
import math
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from actors.classifier.features import SLOTS, VERSION, Grams

SHIPPED_MODEL: Final = Path(__file__).parent.parent / "models" / "spam.safetensors"
CARD_FORMAT: Final = "tamis-spam-model/1"
_FILE_BYTES_MAX: Final = 64 * 1024 * 1024
_LOG_ODDS_MAX: Final = 30.0
_VERSION_DIGITS: Final = 8


class ModelError(Exception):
    """A model cannot be used; the text names the file and why."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts on the held-out part at the threshold."""

    spam: int
    spam_found: int
    ham: int
    ham_taken_for_spam: int
    recall: float
    false_positive_rate: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is, for people and for the check at load."""

    format: str
    sha256: str
    """Of the safetensors file."""
    features_version: int
    slots: int
    threshold: float
    """Probability from which a message counts as spam."""
    seed: int
    epochs: int
    code_sha256: str
    """Of the modules that make the features and train."""
    data: str
    data_counts: dict[str, int]
    """Messages per folder, training and held-out together."""
    trained_on: int
    split_rule: str
    held_out: Metrics
    limits: str


class SpamModel:
    """Weights and calibration, ready to score."""

    def __init__(self, weights: NDArray[np.float32], slope: float, intercept: float, threshold: float) -> None:
        self.weights = weights
        self.slope = slope
        self.intercept = intercept
        self.threshold = threshold

    def score(self, grams: Grams) -> float:
        """The uncalibrated linear score."""
        slots = grams.distinct
        return float(self.weights[slots].sum()) / math.sqrt(len(slots))

    def probability(self, grams: Grams) -> float:
        """Calibrated probability of spam, 0 to 1."""
        log_odds = self.slope * self.score(grams) + self.intercept
        return 1 / (1 + math.exp(-max(-_LOG_ODDS_MAX, min(_LOG_ODDS_MAX, log_odds))))

    def evidence(self, grams: Grams, *, spam: bool, count: int) -> list[str]:
        """The words that speak most for spam (or ham), strongest first, as printable ASCII."""
        signed = self.weights[grams.slots] if spam else -self.weights[grams.slots]
        return grams.strongest_words(signed, count)


def load(path: Path) -> tuple[SpamModel, Card]:
    """Read a model and its card. Raises ModelError for whatever is wrong with either."""
    card_path = path.with_suffix(".json")
    try:
        card = msgspec.json.decode(card_path.read_bytes(), type=Card)
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise ModelError(f"{path}: larger than {_FILE_BYTES_MAX} bytes")
        content = path.read_bytes()
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path}: {error}") from error
    if card.format != CARD_FORMAT:
        raise ModelError(f"{card_path}: format {card.format!r}, this release reads {CARD_FORMAT!r}")
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise ModelError(f"{path}: is not the file that its card describes (SHA-256 differs)")
    if (card.features_version, card.slots) != (VERSION, SLOTS):
        raise ModelError(f"{path}: made for other features (version {card.features_version}), train it again")
    return _from_bytes(path, content, card.threshold), card


def version_of(card: Card) -> str:
    """Short name of a model: how the SHA-256 of its card begins, which holds threshold and SHA-256 of the weights."""
    return hashlib.sha256(card_bytes(card)).hexdigest()[:_VERSION_DIGITS]


def card_bytes(card: Card) -> bytes:
    """The card as an indented JSON file; the same card gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def to_bytes(weights: NDArray[np.float32], slope: float, intercept: float) -> bytes:
    """The safetensors file; the same values give the same bytes."""
    tensors: dict[str, NDArray[Any]] = {
        "weights": weights.astype(np.float16),
        "calibration": np.array([slope, intercept], np.float64),
    }
    return safetensors.numpy.save(tensors)


def _from_bytes(path: Path, content: bytes, threshold: float) -> SpamModel:
    try:
        tensors = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path}: {error}") from error
    weights, calibration = tensors.get("weights"), tensors.get("calibration")
    if weights is None or calibration is None or weights.shape != (SLOTS,) or calibration.shape != (2,):
        raise ModelError(f"{path}: does not hold `weights` and `calibration` of the expected shape")
    if not (np.isfinite(weights).all() and np.isfinite(calibration).all()):
        raise ModelError(f"{path}: holds values that are not finite")
    return SpamModel(weights.astype(np.float32), float(calibration[0]), float(calibration[1]), threshold)
