"""Near-duplicate campaigns: `python -m bench.campaigns [--corpora DIR] [--json]`.

    recall.*          of mutated copies of spam, so many have a key in common with it and are similar enough
    ham_hits.*        ham that belongs to a campaign when all spam of the corpora has been reported; nearest.* is the
                      greatest similarity among all pairs
    again             spam that belongs to a campaign of spam that was reported before it, in the order of the corpora:
                      what such reports alone would find
    fingerprint_ms.*  CPU of one message, parsing included: best third of rounds, since a shared machine only adds

Originals are real spam with their markup; copies are made of their visible words. Without corpora (TAMIS_CORPORA or
--corpora: spamassassin, phish_modern, list_ham) the templates of the tests are mutated, and there is no ham.
"""

import argparse
import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from actors.classifier.campaigns.campaign import Fingerprint
from actors.classifier.campaigns.config import CampaignConfig
from actors.classifier.campaigns.fingerprint import fingerprint, seen, similarity
from actors.classifier.corpus import as_message, read_corpus
from actors.mime import decode_encoded_words, mail_text
from actors.model import Message
from bench.dkim_signing import cost_ms
from bench.figures import show
from tests.actors.classifier.campaigns.mutations import HARD_MUTATIONS, MUTATIONS, html_mail, mail, template

SIMILARITY_MIN = CampaignConfig().similarity_min
ORIGINALS_MAX = 600
ROUNDS = 20
Mails = Mapping[str, Sequence[Message]]


class Known:
    """Campaigns as the store has them, in memory and without bounds."""

    def __init__(self) -> None:
        self._by_key: defaultdict[bytes, list[Fingerprint]] = defaultdict(list)

    def report(self, mark: Fingerprint) -> None:
        """Begin a campaign."""
        for key in mark.keys:
            self._by_key[key].append(mark)

    def nearest(self, mark: Fingerprint) -> float:
        """Similarity to the nearest campaign with a key in common; 0 without."""
        near = {id(one): one for key in mark.keys for one in self._by_key.get(key, ())}
        return max((similarity(mark, one) for one in near.values()), default=0.0)


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpora", type=Path, default=os.environ.get("TAMIS_CORPORA"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    spam, ham = read(options.corpora) if options.corpora else ({"templates": templates()}, {})
    figures = {**recall(spam), **hits(spam, ham), **costs()}
    show(figures, as_json=options.json)


def read(corpora: Path) -> tuple[Mails, Mails]:
    """(spam, ham), by source."""
    samples = read_corpus(corpora / "spamassassin")
    folders = {
        name: [as_message(path.read_bytes()) for path in sorted((corpora / name).iterdir())]
        for name in ("phish_modern", "list_ham")
    }
    spam = {
        "spamassassin": [as_message(sample.raw) for sample in samples if sample.spam],
        "phish_modern": folders["phish_modern"],
    }
    ham = {
        "spamassassin": [as_message(sample.raw) for sample in samples if not sample.spam],
        "list_ham": folders["list_ham"],
    }
    return spam, ham


def templates() -> list[Message]:
    """Made ones, half of them HTML."""
    return [(html_mail if seed % 2 else mail)(template(seed)) for seed in range(ORIGINALS_MAX)]


def recall(spam: Mails) -> dict[str, object]:
    """Of copies by each mutation; only of mail with a signature."""
    figures: dict[str, object] = {}
    for source, mails in spam.items():
        originals = [(mark, one) for one in mails if (mark := fingerprint(one)).signature][:ORIGINALS_MAX]
        texts = [_seen(one).split() for _, one in originals]
        for name, mutate in (MUTATIONS | HARD_MUTATIONS).items():
            by = random.Random(len(name))
            copies = [fingerprint(mail(mutate(text, by), subject="")) for text in texts]
            found = [_found(original, copy) for (original, _), copy in zip(originals, copies, strict=True)]
            figures[f"recall.{source}.{name}"] = f"{sum(found) / len(found):.4f} of {len(found)}"
    return figures


def hits(spam: Mails, ham: Mails) -> dict[str, object]:
    """Ham that a campaign of any spam takes in, and spam that one of earlier spam does."""
    figures: dict[str, object] = {}
    known = Known()
    marks: list[Fingerprint] = []
    for source, mails in spam.items():
        new = [mark for one in mails if (mark := fingerprint(one))]
        again = 0
        for mark in new:
            again += known.nearest(mark) >= SIMILARITY_MIN
            known.report(mark)
        figures[f"again.{source}"] = f"{again} of {len(mails)}, {len(mails) - len(new)} without fingerprint"
        marks += new
    rows = np.array([np.frombuffer(mark.signature, "<u4") for mark in marks if mark.signature])
    for source, mails in ham.items():
        new = [mark for one in mails if (mark := fingerprint(one))]
        taken = sum(known.nearest(mark) >= SIMILARITY_MIN for mark in new)
        figures[f"ham_hits.{source}"] = f"{taken} of {len(mails)}"
        signed = [np.frombuffer(mark.signature, "<u4") for mark in new if mark.signature]
        figures[f"nearest.{source}"] = round(max(float((rows == one).mean(axis=1).max()) for one in signed), 3)
    return figures


def costs() -> dict[str, object]:
    """CPU of fingerprints."""
    words = template(3, 20_000)
    sizes = {"text_6kb": 6_000, "text_200kb": 200_000}
    made = {name: mail(_of_bytes(words, count)) for name, count in sizes.items()}
    made["html_6kb"] = html_mail(_of_bytes(words, 6_000))
    accented = mail([f"{word}é" for word in _of_bytes(words, 5_000)])
    return {
        f"fingerprint_ms.{name}": cost_ms(lambda one=one: fingerprint(one), ROUNDS)
        for name, one in (made | {"not_ascii_6kb": accented}).items()
    }


def _of_bytes(words: list[str], count: int) -> list[str]:
    return " ".join(words * (count // 40_000 + 1))[:count].split()


def _found(original: Fingerprint, copy: Fingerprint) -> bool:
    return bool(set(original.keys) & set(copy.keys)) and similarity(original, copy) >= SIMILARITY_MIN


def _seen(message: Message) -> str:
    subject = " ".join(decode_encoded_words(value) for value in message.header_values(b"subject")[:1])
    return f"{subject}\n{seen(mail_text(message))}"


if __name__ == "__main__":
    main()
