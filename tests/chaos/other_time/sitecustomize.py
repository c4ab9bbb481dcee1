"""Gives every Python process that finds this in PYTHONPATH a clock of the wall that a file moves (CHAOS_CLOCK).

Not libfaketime: under it Python's own sleep fails, and the kernel's time namespaces know no wall clock. What reads the
clock in C (Ray, Valkey, datetime) keeps the true one, as on a machine where only some processes saw the jump yet.
"""

import os
import time
from pathlib import Path

_EVERY_S = 0.5
_clock = Path(os.environ["CHAOS_CLOCK"])
_true_ns = time.time_ns
_moved_ns = 0
_looked_s = 0.0


def _time_ns() -> int:
    global _moved_ns, _looked_s  # noqa: PLW0603  one clock a process
    if time.monotonic() > _looked_s + _EVERY_S:
        _looked_s = time.monotonic()
        _moved_ns = int(_clock.read_text() or 0) * 1_000_000_000
    return _true_ns() + _moved_ns


time.time_ns = _time_ns
time.time = lambda: _time_ns() / 1e9
