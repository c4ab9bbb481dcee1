"""Reader of a milter manager's scenario files: what an MTA says, step by step, and what is expected of its filters.

The format is like INI. `import` plays another file first; a section that a file names without playing it changes, key
by key, the section of the same name in what it imports. `arguments` are the command line of a child filter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Sections = dict[str, dict[str, str]]
Option = tuple[str, str]


@dataclass(frozen=True)
class Step:
    """One command of the MTA with what is expected; keys and values as written."""

    name: str
    values: Mapping[str, str]

    @property
    def command(self) -> str:
        return self.values["command"]

    @property
    def status(self) -> str:
        """continue, accept, reject, temporary-failure, discard; empty when the step is expected to fail."""
        status = self.values.get("status", "")
        if not status and "error_code" not in self.values:
            # The files about children only name the answer.
            status = {"accept": "accept"}.get(self.values["response"], "continue")
        return status

    def words(self, key: str) -> list[str]:
        """The values of a key that are not empty, without those of other filters that got nothing."""
        return [word for word in self.values.get(key, "").split(";") if word]

    def text(self, key: str) -> bytes:
        return self.values.get(key, "").replace("\\s", " ").encode()


@dataclass(frozen=True)
class Scenario:
    """A file with all that it imports."""

    name: str
    steps: tuple[Step, ...]
    children: tuple[tuple[Option, ...], ...]
    """Of each child filter, its options."""
    expected: str
    """What a whole message is expected to end with, in the files that have no steps."""

    def children_say(self, option: str) -> list[str]:
        """The values of an option, of all children."""
        return [value for child in self.children for name, value in child if name == option]


def read(root: Path, name: str) -> Scenario:
    """`name` is FOLDER/FILE without suffix."""
    sections = _sections(root / f"{name}.txt")
    scenario = sections["scenario"]
    children = tuple(
        _options(sections[child].get("arguments", "")) for child in scenario["clients"].split(";") if child
    )
    return Scenario(name, tuple(_steps(root, name, {})), children, scenario.get("expected", ""))


def _steps(root: Path, name: str, changes: Sections) -> list[Step]:
    sections = _sections(root / f"{name}.txt")
    scenario = sections["scenario"]
    own = [action for action in scenario.get("actions", "").split(";") if action]
    inherited = {title: keys for title, keys in sections.items() if title not in own} | changes
    before: list[Step] = []
    if "import" in scenario:
        before = _steps(root, f"{name.partition('/')[0]}/{scenario['import'].removesuffix('.txt')}", inherited)
    return before + [Step(action, sections[action] | changes.get(action, {})) for action in own]


def _sections(path: Path) -> Sections:
    sections: Sections = {}
    current: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), {})
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            current[key] = value
    return sections


def _options(arguments: str) -> tuple[Option, ...]:
    options: list[Option] = []
    for word in arguments.split(";"):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            options.append((name, value))
        elif word:
            options[-1] = (options[-1][0], word)
    return tuple(options)
