"""How benchmarks tell their figures: one JSON object or a line each, units in the names; and percentiles."""

import json
from collections.abc import Mapping, Sequence


def show(figures: Mapping[str, object], *, as_json: bool) -> None:
    """Print one JSON object, or a line for each figure."""
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        shown = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
        print(f"{name:<32} {shown}")


def percentile(sorted_values: Sequence[float], percent: float) -> float | None:
    """The value below which so many percent lie; None of nothing."""
    if not sorted_values:
        return None
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * percent / 100))]
