"""What a running cell lacks, told once: which process, why, and that it is back. Pure."""

from collections.abc import Mapping

_LASTS_S = 5.0
"""A process that died is mostly back sooner, and nobody needs to know."""


class Gaps:
    """Give `lines` what is missing, again and again; it returns what is worth a line."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self._since_s: dict[str, float] = {}
        self._told = dict(told)

    def lines(self, problems: Mapping[str, str], now_s: float) -> list[str]:
        """`problems`: why something is missing, by its name."""
        lines = [f"{name} is there" for name in self._told if name not in problems]
        self._told = {name: why for name, why in self._told.items() if name in problems}
        self._since_s = {name: self._since_s.get(name, now_s) for name in problems}
        for name, why in problems.items():
            if now_s - self._since_s[name] >= _LASTS_S and self._told.get(name) != why:
                self._told[name] = why
                lines.append(f"{name} is missing: {why}")
        return lines
