"""A progress bar for each phase of long work, in the order in which they begin."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """Shown from `with` to its end."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, phase: str, done: int, steps: int) -> None:
        """Show `done` of `steps`."""
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=steps)
        self._progress.update(self._tasks[phase], completed=done)
