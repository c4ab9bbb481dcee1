"""Memory of `tamis up` at rest, and what a further replica of every pool takes: `python -m bench.memory [--json]`.

PSS of all processes of it, what is shared counted once, some seconds after the start and before any mail. The second
start has one replica more in each pool: in the split layout a process a pool, in the fused one a process in all.
"""

import argparse
import sys
import time
from statistics import median

from bench.figures import show
from bench.process_tree import tree_usage
from bench.stack import Stack, StackOptions

REST_S = 5.0
POOLS = ("dkim", "policy", "classifier", "antivirus")


def at_rest_mb(replicas: int) -> tuple[float, int]:
    """(PSS of all, how many processes score) of a `tamis up` with so many replicas in each pool."""
    sizes = "\n".join(f"{pool} = {replicas}" for pool in POOLS)
    with Stack({}, StackOptions(trace=False, extra=f"[cluster.pools]\n{sizes}\n")) as stack:
        time.sleep(REST_S)
        usage = tree_usage([stack.pid])
    scoring = sum(process.name.startswith("ray::HostProces") for process in usage.processes.values())
    return usage.pss_bytes / 1e6, scoring


def main() -> int:
    """Medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    one, more = [], []
    for _ in range(args.rounds):
        one.append(at_rest_mb(1))
        more.append(at_rest_mb(2))
    further = more[0][1] - one[0][1]
    rest_mb, more_mb = (median(mb for mb, _ in runs) for runs in (one, more))
    figures = {
        "at_rest_pss_mb": round(rest_mb, 1),
        "scoring_processes": one[0][1],
        "further_replica_pss_mb": round((more_mb - rest_mb) / further, 1) if further > 0 else None,
    }
    show(figures, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
