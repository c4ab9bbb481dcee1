"""`tamis evaluate`: how good the spam model is on mail that it has not seen, with bogofilter beside it.

Strategy: read labelled mail, take out what its collection left there, have each filter score the same messages, and
measure (actors/classifier/evaluation.py). With --online nobody knows anything before: messages come in date order, each
is scored and then learned, as TREC did it.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from actors.classifier import corpus as corpora
from actors.classifier import evaluation, features, traces
from actors.classifier import model as models
from actors.classifier.corpus import Reading, Sample
from actors.classifier.online import Learner, OnlineRegression, in_date_order, run
from actors.classifier.slices import slices_of
from actors.model import Message
from cli import bogofilter as peers
from cli.bars import Bars
from cli.evaluate_page import page
from cli.evaluate_table import Outcome, Scored, print_tables

EXIT_FAILED = 1
EXIT_USAGE = 2
RATES = (0.01, 0.001)

Labelled = Sequence[tuple[Message, bool]]
Advance = Callable[[int], None]
Filter = Callable[[Labelled, Advance], list[float]]
"""Log-odds of each message; hears of how many are done."""


def evaluate(  # noqa: PLR0913  the options of the command
    *,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="The SpamAssassin corpus: measured on what is not trained on, with --online on all of it. "
            "Beside --ham and --spam it is what bogofilter learns first: the part that the model was trained on."
        ),
    ] = None,
    ham: Annotated[
        list[Path] | None, typer.Option(help="Ham to measure with: folder, maildir, mbox or message; may be repeated.")
    ] = None,
    spam: Annotated[list[Path] | None, typer.Option(help="Spam to measure with, likewise.")] = None,
    model: Annotated[Path, typer.Option(help="Model file; the shipped one by default.")] = models.SHIPPED_MODEL,
    online: Annotated[
        bool, typer.Option("--online", help="Score each message in date order, then learn it, beginning from nothing.")
    ] = False,
    as_is: Annotated[bool, typer.Option("--as-is", help="Leave in the mail what its collection wrote there.")] = False,
    bogofilter: Annotated[
        bool, typer.Option("--bogofilter/--no-bogofilter", help="Measure bogofilter beside it where it is installed.")
    ] = True,
    html: Annotated[Path | None, typer.Option(help="Write a page with ROC and calibration plots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Measure the spam model on labelled mail: (1-AUC) %, recall at false positive rates, calibration, slices."""
    if bool(ham) != bool(spam):
        _end("give --ham and --spam together", EXIT_USAGE)
    if not ham and corpus is None:
        _end("give --corpus DIR, or --ham PATH and --spam PATH", EXIT_USAGE)
    if html is not None:
        _try_place(html)
    try:
        reading, measured, learned = _mail(corpus, ham or [], spam or [], online=online, as_is=as_is)
        beside = bogofilter and peers.is_installed() and (online or bool(learned))
        with tempfile.TemporaryDirectory(prefix="tamis-evaluate-", dir=_in_memory()) as directory:
            filters = _filters(model, learned, Path(directory) if beside else None, online=online)
            outcome = _measure(filters, measured, reading, online=online)
        if html is not None:
            html.write_text(page(outcome), encoding="utf-8")
    except (corpora.CorpusError, evaluation.EvaluationError, models.ModelError, peers.BogofilterError) as error:
        _end(str(error), EXIT_FAILED)
    except OSError as error:
        _end(f"{error.filename or ''}: {error.strerror}", EXIT_FAILED)
    if as_json:
        print(msgspec.json.encode(outcome).decode())
    else:
        print_tables(outcome, Console())


def _mail(
    corpus: Path | None, ham: list[Path], spam: list[Path], *, online: bool, as_is: bool
) -> tuple[Reading, Labelled, Labelled]:
    """What was read to measure with, its messages in their order, and what a peer may learn before."""
    of_corpus = corpora.read_corpus(corpus) if corpus is not None else Reading([], {})
    reading = corpora.read_labelled(ham, spam) if ham else of_corpus
    trained = [] if online else [sample for sample in of_corpus.samples if not corpora.is_held_out(sample.raw)]
    samples = reading.samples
    if online:
        samples = in_date_order(samples)
    elif not ham:
        samples = [sample for sample in samples if corpora.is_held_out(sample.raw)]
    cleaned = _as_collected if as_is else _without_all_traces if ham else _without_collectors
    measured = [(cleaned(sample), sample.spam) for sample in samples]
    # Learned and measured mail are cleaned alike: fields that only one has would mislead the peer.
    return reading, measured, [(cleaned(sample), sample.spam) for sample in trained]


def _as_collected(sample: Sample) -> Message:
    return corpora.as_message(sample.raw)


def _without_collectors(sample: Sample) -> Message:
    return corpora.as_message(corpora.without_collectors(sample.raw))


def _without_all_traces(sample: Sample) -> Message:
    return traces.without_traces(sample.raw)


def _filters(path: Path, learned: Labelled, peer: Path | None, *, online: bool) -> dict[str, Filter]:
    filters: dict[str, Filter] = {"tamis": _online(OnlineRegression()) if online else _model(path)}
    if peer is not None:
        filters[peers.PROGRAM] = _online(peers.Bogofilter(peer)) if online else _taught(peers.Bogofilter(peer), learned)
    return filters


def log_odds_of(path: Path) -> Callable[[Message], float]:
    """A model as what it says of a message: natural log-odds of spam. Raises ModelError."""
    trained, _ = models.load(path)
    return lambda message: trained.slope * trained.score(features.grams(message)) + trained.intercept


def _model(path: Path) -> Filter:
    log_odds = log_odds_of(path)

    def score(messages: Labelled, advance: Advance) -> list[float]:
        scores = []
        for message, _ in messages:
            scores.append(log_odds(message))
            advance(len(scores))
        return scores

    return score


def _online(learner: Learner) -> Filter:
    def score(messages: Labelled, advance: Advance) -> list[float]:
        scores = []
        for one in run(learner, messages):
            scores.append(one)
            advance(len(scores))
        return scores

    return score


def _taught(peer: peers.Bogofilter, learned: Labelled) -> Filter:
    def score(messages: Labelled, advance: Advance) -> list[float]:
        peer.learn_all(learned, lambda _: None)
        return peer.score_all([message for message, _ in messages], advance)

    return score


def _measure(filters: dict[str, Filter], measured: Labelled, reading: Reading, *, online: bool) -> Outcome:
    labels = [spam for _, spam in measured]
    slices = slices_of([message for message, _ in measured])
    scored = []
    with Bars(Console(stderr=True)) as bars:
        for name, score in filters.items():

            def advance(done: int, name: str = name) -> None:
                bars.advance(name, done, len(measured))

            scored.append(Scored(name, evaluation.evaluate(score(measured, advance), labels, RATES, slices)))
    return Outcome(online=online, skipped=reading.skipped, filters=scored)


def _in_memory() -> Path | None:
    """Where a word list is fastest: bogofilter's waits for the disk with every message that it learns."""
    memory = Path("/dev/shm")  # noqa: S108  a directory of its own is made there
    return memory if os.access(memory, os.W_OK) else None


def _try_place(path: Path) -> None:
    """Found out before the work, without a trace: whether a page can be written there."""
    try:
        was_there = path.exists()
        path.open("ab").close()
        if not was_there:
            path.unlink()
    except OSError as error:
        _end(f"--html {path}: {error.strerror}", EXIT_USAGE)


def _end(message: str, code: int) -> NoReturn:
    print(f"tamis evaluate: {message}", file=sys.stderr)
    sys.exit(code)
