"""What mail notices of rollouts: milter load at saturation while every process is replaced, again and again.

    python -m bench.rollout --corpus DIR [--rollouts 3] [--sessions 4] [--seconds 40]

Prints one JSON object: how long each rollout took, and of the messages how many were refused or got no answer, with the
percentiles of their end of message.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.milter_load import Options, Report, measure
from bench.stack import Stack, StackOptions
from cli.mta_stages import Client

_WARM_S = 3.0


def roll(stack: Stack) -> float:
    """One rollout from begin to end, in seconds. Raises CalledProcessError when it stopped."""
    started_s = time.monotonic()
    command = [sys.executable, "-m", "cli", "rollout", "start", "--why", "bench", "--run-dir", str(stack.run_dir)]
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started_s


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--rollouts", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=40.0)
    args = parser.parse_args()
    reports: list[Report] = []
    with Stack({}, StackOptions(trace=False)) as stack:
        options = Options(stack.milter, (args.corpus,), args.sessions, 10**7, args.seconds, (), Client())
        load = threading.Thread(target=lambda: reports.append(measure(options)))
        load.start()
        time.sleep(_WARM_S)
        took_s = [round(roll(stack), 1) for _ in range(args.rollouts)]
        loaded = load.is_alive()
        load.join()
    numbers = reports[0].numbers()
    kept = {key: numbers[key] for key in ("messages", "unanswered", "messages_per_s", "end_of_message_ms", "actions")}
    print(json.dumps({"rollouts_s": took_s, "all_under_load": loaded, **kept}))


if __name__ == "__main__":
    main()
