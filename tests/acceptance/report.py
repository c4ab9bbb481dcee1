"""The form of every acceptance run: one line `ok|short NAME figure bound command` for each listed name.

A check is a function that measures one or several names. What raises, is skipped or is never measured is `short`.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

TOPICS = Path(__file__).with_name("TOPIC.txt")


def listed_names(topic: str) -> list[str]:
    """The names under `# topic` in TOPIC.txt."""
    names: list[str] = []
    inside = False
    for line in TOPICS.read_text().splitlines():
        if line.startswith("#"):
            inside = line.lstrip("# ").strip() == topic
        elif inside and line.strip():
            names.append(line.strip())
    return names


class Report:
    """Collects results and prints each as it comes."""

    def __init__(self, topic: str, within_s: float = math.inf) -> None:
        """`within_s`: the whole run takes no longer; what comes later is short."""
        self._open = listed_names(topic)
        self._within_s = within_s
        self._short = 0
        self._started = time.monotonic()

    def time_s(self, most_s: float) -> float:
        """So long a check may take that would like to take so long."""
        return max(0.0, min(most_s, self._started + self._within_s - time.monotonic()))

    def result(self, name: str, figure: object, bound: str, command: str, *, ok: bool) -> None:
        """One measured figure; unknown names are an error of the run itself."""
        self._open.remove(name)
        self._short += not ok
        shown = f"{figure:.3g}" if isinstance(figure, float) else str(figure).replace(" ", "_")
        print(f"{'ok' if ok else 'short'} {name} {shown} {bound} {command}", flush=True)

    def at_most(self, name: str, figure: float, bound: float, command: str) -> None:
        """A figure that must not be larger than its bound."""
        self.result(name, float(figure), f"<={bound:g}", command, ok=figure <= bound)

    def at_least(self, name: str, figure: float, bound: float, command: str) -> None:
        """A figure that must not be smaller than its bound."""
        self.result(name, float(figure), f">={bound:g}", command, ok=figure >= bound)

    def true(self, name: str, fact: bool, command: str, figure: object = "") -> None:  # noqa: FBT001
        """Something that holds or does not."""
        self.result(name, figure or ("yes" if fact else "no"), "yes", command, ok=fact)

    def run(self, check: Callable[["Report"], None]) -> None:
        """Run a check; whatever it raises leaves its names open, and the reason on stderr."""
        started = time.monotonic()
        try:
            check(self)
        except Exception as error:  # noqa: BLE001  a broken check must not hide the others
            print(f"{check.__name__}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        print(f"# {check.__name__}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    def finish(self) -> int:
        """Print what was never measured as short; the exit code."""
        for name in list(self._open):
            self.result(name, "unmeasured", "-", "-", ok=False)
        print(f"# {self._short} short, {time.monotonic() - self._started:.0f} s", file=sys.stderr, flush=True)
        return 1 if self._short else 0
