"""`make bench`: every figure of bench/RESULTS.md anew, each under the command that gives it.

A shared machine is not equally fast at all times: the yardstick, a fixed piece of Python, is timed beside each figure,
so that two runs can be compared.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.corpus import find_corpus
from bench.samples import SampleMaker
from bench.stack import Stack, StackOptions

LOADS = ((1, 400), (32, 3000))
"""(sessions, messages) of each load."""
ROUNDS = 3


def main() -> int:
    """All benchmarks; 1 when a load left messages unanswered."""
    with tempfile.TemporaryDirectory(prefix="tamis-corpus-", dir="/tmp") as scratch:
        corpus = find_corpus(Path(scratch), Console(stderr=True))
        command("bench.codec")
        command("bench.gateway_cpu", "--messages", "3000")
        command("bench.actors_cpu", str(corpus / "easy_ham"), str(corpus / "spam"), "--rounds", "3")
        command("bench.stream_cpu", "--sessions", "1", "32", "--messages", "2000")
        with Stack(SampleMaker().zone(), StackOptions(trace=False)) as stack:
            print(f"\n# tamis up: ready after {stack.start_s:.1f} s")
            unanswered = sum(load(stack, corpus, sessions, messages) for sessions, messages in LOADS)
        print(f"# tamis up: stopped in {stack.stop_s:.1f} s")
    return 1 if unanswered else 0


def command(module: str, *arguments: str) -> None:
    """Run one benchmark and show what it prints."""
    print(f"\n$ python -m {module} {shlex.join(arguments)}\n# yardstick {yardstick_ms():.1f} ms", flush=True)
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def load(stack: Stack, corpus: Path, sessions: int, messages: int) -> int:
    """A milter load with the corpus, in rounds; prints medians and returns how many messages got no answer."""
    arguments = ["--to", stack.milter, "--sessions", str(sessions), "--messages", str(messages)]
    arguments += ["--corpus", str(corpus), "--pid", str(stack.pid)]
    print(f"\n$ python -m bench.milter_load {shlex.join(arguments)}", flush=True)
    rounds: list[dict[str, Any]] = []
    yardsticks_ms = []
    for _ in range(ROUNDS):
        yardsticks_ms.append(yardstick_ms())
        done = subprocess.run(
            [sys.executable, "-m", "bench.milter_load", "--json", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        rounds.append(figures_of(done))
    print(f"# yardstick {statistics.median(yardsticks_ms):.1f} ms; medians of {ROUNDS} rounds")
    for key in ("messages_per_s", "cpu_ms_per_message", "load_generator_cpu_ms_per_message", "pss_mb"):
        print(f"{key:<36} {statistics.median(figures[key] for figures in rounds):g}")
    for key in ("p50", "p95", "p99"):
        waits_ms = [figures["end_of_message_ms"][key] for figures in rounds]
        print(f"end_of_message_ms {key:<18} {statistics.median(waits_ms):g}")
    for process, cpu_ms in rounds[-1]["cpu_ms_per_message_by_process"].items():
        if cpu_ms >= 0.01:
            print(f"  cpu of {process:<27} {cpu_ms:g}")
    return sum(int(figures["unanswered"]) for figures in rounds)


def figures_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON object that a load printed. Raises SystemExit when it ended without one."""
    if done.returncode:
        print(f"# exit code {done.returncode}\n{done.stderr}", file=sys.stderr, end="", flush=True)
    lines = done.stdout.splitlines()
    # 1 is also the exit code of a whole run with messages that got no answer.
    if done.returncode not in (0, 1) or not lines:
        raise SystemExit("bench.milter_load gave no figures")
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def yardstick_ms(share: float = 1.0) -> float:
    """CPU time of a fixed piece of Python: how fast this machine is just now. Taken from a share of the piece."""
    started_s = time.thread_time()
    total = 0
    for number in range(int(500_000 * share)):
        total += number & 3
    return (time.thread_time() - started_s) * 1000 / share


if __name__ == "__main__":
    sys.exit(main())
