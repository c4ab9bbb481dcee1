"""What corrections do to misses and false positives: mail in random order, each scored before it is taught.

Usage: python -m bench.feedback CORPORA, a directory with `phish_modern` and `list_ham`. One row for each habit of those
who teach and each kind of layer, over the shipped model; the figures of docs/decisions/0008-online-learning.md.
"""

import sys
from pathlib import Path

import numpy as np

from actors.classifier import features, model
from actors.classifier.corpus import as_message
from actors.classifier.learning.bounds import Bounds, Spent
from actors.classifier.learning.commonness import Commonness
from actors.classifier.learning.example import Label
from actors.classifier.learning.layers import SHARED, Slots
from actors.classifier.learning.lesson import Case, Limits, learn
from actors.classifier.learning.scope import log_odds_of
from actors.classifier.learning.weights import Weights

SEED = 1
LIMITS = Limits(Bounds(1_000_000, 1e9), Spent(), 160 << 20)
LAYERS = {"everybody's": SHARED, "tenant's": "t:acme", "user's": "u:acme/0"}
HABITS = ("nothing", "all", "errors", "spam alone", "missed spam alone")
Mail = tuple[bool, Slots, float]
"""(spam, slots, log-odds of the model)."""


def read(folder: Path, spam_model: model.SpamModel, *, spam: bool) -> list[Mail]:
    """All messages below a folder."""
    read_mail = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".json", ".md"}):
        grams = features.grams(as_message(path.read_bytes()))
        read_mail.append((spam, grams.distinct, log_odds_of(spam_model.probability(grams))))
    return read_mail


def teaches(habit: str, *, spam: bool, found: bool) -> bool:
    """Whether somebody of this habit teaches a message that was taken for spam or not."""
    wants = {"all": True, "errors": spam != found, "spam alone": spam, "missed spam alone": spam and not found}
    return wants.get(habit, False)


def play(mail: list[Mail], layer: str, habit: str, *, traffic: bool) -> str:
    """Misses and false positives, of all and of the second half. `traffic`: all mail is counted, not what is taught."""
    weights, commonness = Weights(1 << 30), Commonness()
    wrong: dict[bool, list[bool]] = {True: [], False: []}
    for spam, slots, base in mail:
        found = base + weights.log_odds(layer, slots) >= 0
        wrong[spam].append(found != spam)
        if traffic:
            commonness.note(slots)
        if teaches(habit, spam=spam, found=found):
            commonness.note(slots)
            label = Label.SPAM if spam else Label.HAM
            delta = learn(weights, Case(slots, commonness.rates(slots), base, label, {layer: 1.0}, {}), LIMITS).delta
            if delta:
                after = weights.position.after(delta)
                weights.apply(after.number, after.chain, delta)
    figures = [100 * np.mean(part) for flags in wrong.values() for part in (flags, flags[len(flags) // 2 :])]
    return "misses {:5.2f} %, 2nd half {:5.2f} %; false positives {:5.2f} %, {:5.2f} %".format(*figures)


def main() -> None:
    corpora = Path(sys.argv[1])
    spam_model, _ = model.load(model.SHIPPED_MODEL)
    mail = read(corpora / "phish_modern", spam_model, spam=True) + read(corpora / "list_ham", spam_model, spam=False)
    order = np.random.default_rng(SEED).permutation(len(mail))
    mail = [mail[number] for number in order]
    print(f"{len(mail)} messages, {sum(spam for spam, *_ in mail)} spam")
    for traffic in (True, False):
        for name, layer in LAYERS.items():
            for habit in HABITS:
                counted = "all mail counted" if traffic else "taught mail counted"
                print(f"{counted}, {name:11} {habit:17} {play(mail, layer, habit, traffic=traffic)}", flush=True)


if __name__ == "__main__":
    main()
