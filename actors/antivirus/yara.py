"""yara-x rules: compiled once at start, then asked about bytes.

yara-x holds the GIL while it scans and its timeout counts whole seconds, so callers cap what they pass. Files cannot
include others: what is loaded is what the configuration names.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import yara_x

SHIPPED_RULES = Path(__file__).parent / "rules"


class RuleError(Exception):
    """A rule file cannot be used; the text names the file and the first mistake."""


class RuleScanTimeout(Exception):
    """A scan took longer than its cap."""


class YaraRules:
    """A compiled set of rules."""

    def __init__(self, paths: Iterable[Path], timeout_s: float) -> None:
        """Compile. Raises RuleError."""
        compiler = yara_x.Compiler(includes_enabled=False)
        for path in paths:
            _add(compiler, path)
        self._scanner = yara_x.Scanner(compiler.build())
        self._scanner.set_timeout(max(1, math.ceil(timeout_s)))

    def matches(self, content: bytes) -> Sequence[str]:
        """Names of the rules that match. Raises RuleScanTimeout."""
        try:
            return [rule.identifier for rule in self._scanner.scan(content).matching_rules]
        except yara_x.TimeoutError as error:
            raise RuleScanTimeout(str(error)) from error


def shipped_rules() -> list[Path]:
    """The rule files that come with Tamis."""
    return sorted(SHIPPED_RULES.glob("*.yar"))


def _add(compiler: yara_x.Compiler, path: Path) -> None:
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: cannot be read: {error}") from error
    try:
        compiler.new_namespace(path.name)
        compiler.add_source(source, origin=str(path))
    except yara_x.CompileError as error:
        raise RuleError(f"{path}: {_first_line(str(error))}") from error


def _first_line(text: str) -> str:
    """yara-x draws its errors over several lines with colours; the first says what, the second where."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2])
