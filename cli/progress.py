"""What is shown of long work: a bar on a terminal, a line for each change elsewhere."""

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.status import console

Step = Callable[[str, int, int], None]
"""What is going on, how much of it is over, and how much there is in all."""


@contextlib.contextmanager
def progress() -> Iterator[Step]:
    """Gives the call that shows one step."""
    out = console()
    if not out.is_terminal:
        last: list[tuple[str, int, int]] = []

        def tell(text: str, over: int, total: int) -> None:
            if last != [(text, over, total)]:
                last[:] = [(text, over, total)]
                print(f"{text}: {over} of {total}", flush=True)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("")
        yield lambda text, over, total: bar.update(task, description=text, completed=over, total=total)
