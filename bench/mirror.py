"""What a mirror of 10 % costs live mail: two equal cells, one mirrors, loaded in turn with the same mail.

    python -m bench.mirror [--rounds 5] [--messages 300] [--share 0.1] [--json]

Strategy: two whole `tamis up`s on loopback, the second with [cluster.mirror]. The other cell is bench/ingress.py, an
ingress that accepts everything: in production its work is done on other machines, and only what the live cell does for
the mirror is to be measured. Rounds alternate; SMTP clients are 10 ms away, so that neither cell is full. Figures are
medians of the rounds, ratios medians of the ratios of one round each; `--share 0` shows how much of them is noise. At
the end the report must hold the share of the mail, all compared.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.figures import show
from bench.ingress import IngressProcess
from bench.milter_load import Options, measure
from bench.samples import CLIENT_IP, SampleMaker
from bench.stack import Stack, StackOptions, wait_for
from cli.mirror import report_files
from cli.mta_stages import Client
from cluster.mirror.summary import Summary

SESSIONS = 8
CLIENT = Client(ip=CLIENT_IP, delay_s=0.01)


def one_round(stack: Stack, corpus: Path, messages: int) -> dict[str, float]:
    """Latency of the end of message and CPU, of one cell."""
    figures = measure(Options(stack.milter, (corpus,), SESSIONS, messages, 120.0, (stack.pid,), CLIENT)).numbers()
    waits: dict[str, float] = figures["end_of_message_ms"]  # type: ignore[assignment]
    return {
        "p50_ms": waits["p50"],
        "p99_ms": waits["p99"],
        "cpu_ms_per_message": float(str(figures["cpu_ms_per_message"])),
        "unanswered": float(str(figures["unanswered"])),
    }


def summary_of(directory: Path) -> Summary:
    """The report as it is now."""
    summary = Summary()
    for path in report_files([directory]):
        summary.read(path.read_bytes().splitlines())
    return summary


def run(rounds: int, messages: int, share: float) -> dict[str, object]:
    """All rounds; every figure with its unit in its name."""
    maker = SampleMaker()
    with tempfile.TemporaryDirectory(prefix="tamis-mirror-", dir="/tmp") as name, IngressProcess() as other:
        corpus, report = Path(name) / "corpus", Path(name) / "report"
        corpus.mkdir()
        report.mkdir()
        for number, sample in enumerate(maker.samples()[:2]):
            (corpus / f"{number}.eml").write_bytes(sample.raw)
        mirror = f'[cluster.mirror]\nto = "{other.target}"\nshare = {share}\nreport_dir = "{report}"\n'
        found: defaultdict[str, list[float]] = defaultdict(list)
        with (
            Stack(maker.zone(), StackOptions(trace=False)) as plain,
            Stack(maker.zone(), StackOptions(trace=False, extra=mirror)) as mirrored,
        ):
            for number in range(rounds + 1):
                cells = [("without", plain), ("with", mirrored)]
                for cell, stack in cells if number % 2 else reversed(cells):
                    figures = one_round(stack, corpus, messages)
                    if number:  # The first one warms both up.
                        for key, value in figures.items():
                            found[f"{cell}_{key}"].append(value)
            expected = share * (rounds + 1) * messages
            wait_for(lambda: summary_of(report).compared >= expected / 2)
            summary = summary_of(report)
    figures = {key: round(statistics.median(values), 3) for key, values in sorted(found.items())}
    ratios = {
        f"ratio_of_{key}": round(statistics.median(pair[0] / pair[1] for pair in pairs), 3)
        for key in ("p50_ms", "p99_ms", "cpu_ms_per_message")
        if (pairs := list(zip(found[f"with_{key}"], found[f"without_{key}"], strict=True)))
    }
    return (
        figures
        | ratios
        | {
            "messages": (rounds + 1) * messages,
            "compared": summary.compared,
            "failed": dict(summary.failed),
            "dropped": dict(summary.dropped),
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    show(run(options.rounds, options.messages, options.share), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
