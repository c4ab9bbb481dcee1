"""The shipped model against its card, and against mail of other times and places that it never saw."""

from pathlib import Path

import numpy as np
import pytest

from actors.classifier import features, model, training
from actors.classifier.corpus import as_message, is_held_out, read_corpus

pytestmark = pytest.mark.data


def test_the_card_tells_the_truth_about_the_held_out_part(corpora: Path) -> None:
    loaded, card = model.load(model.SHIPPED_MODEL)
    held_out = [sample for sample in read_corpus(corpora / "spamassassin").samples if is_held_out(sample.raw)]
    assert training.measure(loaded, held_out, lambda *_: None) == card.held_out


def test_newer_phishing_is_told_from_the_mail_of_a_list(corpora: Path) -> None:
    """An outside check, not a promise: one list is not all ham. Recall where 1 % of the list's mail is above."""
    loaded, _ = model.load(model.SHIPPED_MODEL)
    probabilities = {
        name: np.sort([loaded.probability(features.grams(as_message(path.read_bytes()))) for path in paths])
        for name in ("phish_modern", "list_ham")
        if (paths := sorted((corpora / name).iterdir()))
    }
    limit = probabilities["list_ham"][-len(probabilities["list_ham"]) // 100]
    assert (probabilities["phish_modern"] > limit).mean() > 0.9
