"""Another release of Tamis beside this one: its tree out of the history, and an environment that runs it.

There was no release yet when the first recording was made: what is called 0.1.0 is the state before the cluster was
finished. The other tree runs with the packages of this environment, found before our own modules. Every process of it
keeps its bytecode below a directory of the run, which tells afterwards what was imported from where.
"""

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
COMMITS = {"0.1.0": "6ca7e7d3034975bc92b67bb95bd0bf6bbc46cbc3"}
FOLDERS = ("wire", "gateway", "actors", "cluster", "cli")


class ReleaseMissing(Exception):
    """The history is not here: a shallow clone, or no git."""


def check_out(release: str, into: Path) -> Path:
    """Unpack the tree of a release. Raises ReleaseMissing."""
    command = ["git", "-C", str(PROJECT), "archive", "--format=tar", COMMITS[release]]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ReleaseMissing(f"{release} is not in the history: {error}") from error
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        tar.extractall(into)  # noqa: S202  our own history
    return into


def environment(tree: Path, bytecode: Path) -> dict[str, str]:
    """For processes that run this tree; start them with it as their directory."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **kept,
        "PYTHONPATH": f"{tree}:{tree / 'proto'}",
        "PYTHONSAFEPATH": "1",
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }


def imported(tree: Path, bytecode: Path) -> set[str]:
    """Which of our folders processes with this bytecode have imported from this tree."""
    place = bytecode / tree.resolve().relative_to("/")
    return {folder for folder in FOLDERS if any((place / folder).rglob("*.pyc"))}
