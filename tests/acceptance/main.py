"""`make accept-main`: the main job with the real components, one line for every number and every bad input.

Usage: python -m tests.acceptance.main. Exit code 1 when any line is `short`; at most 12 minutes.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.samples import SampleMaker
from bench.stack import Stack, StackOptions
from tests.acceptance import commands, live
from tests.acceptance.report import Report

SCAN_FILES_A_CALL = 500


def find_corpora() -> Path | None:
    """The unpacked test material, or None on a stranger's machine."""
    given = os.environ.get("TAMIS_CORPORA")
    if given:
        return Path(given)
    unpack = commands.PROJECT.parent / "shared" / "data" / "unpack"
    if not unpack.exists():
        return None
    target = commands.PROJECT / ".test-data"
    subprocess.run([str(unpack), str(target)], check=True)
    return target


def dkim_agreement(report: Report, corpora: Path | None) -> None:
    """Share of real signatures on which `tamis scan` says what was true at signing time."""
    if corpora is None:
        raise AssertionError("no corpora")
    folder = corpora / "signed_mail"
    with (folder / "dkim.tsv").open() as file:
        expected = {(row["file"], int(row["signature_index"])): row for row in csv.DictReader(file, delimiter="\t")}
    names = sorted({name for name, _ in expected})
    found: dict[tuple[str, int], str] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".zone") as zone:
        for line in (folder / "keys.tsv").read_text().splitlines():
            name, _, text = line.partition("\t")
            zone.write(f'{name} TXT "{text}"\n')
        zone.flush()
        for start in range(0, len(names), SCAN_FILES_A_CALL):
            files = [str(folder / "mail" / name) for name in names[start : start + SCAN_FILES_A_CALL]]
            command = ["scan", "--local", "--json", "--dns-zone", zone.name, "--now", "message", *files]
            for line in commands.run(*commands.TAMIS, *command).stdout.splitlines():
                row = json.loads(line)
                outcomes = [finding["outcome"] for finding in row["findings"] if finding["name"] == "dkim"]
                found |= {(Path(row["file"]).name, number): outcome for number, outcome in enumerate(outcomes)}
    agreeing = sum(
        (found.get(key) == "pass") == (row["verdict_at_signing_time"] == "pass") for key, row in expected.items()
    )
    report.at_least("dkim_agreement_signed_mail", agreeing / len(expected), 0.99, "tamis scan --local --now message")


def main() -> int:
    """All checks, cheap ones first; what is not measured is short."""
    report = Report("main")
    maker = SampleMaker()
    corpora = find_corpora()
    for check in (
        commands.generated_code,
        commands.gateway_imports,
        commands.config_mistakes,
        commands.gateway_start,
        commands.scan_json,
        commands.gateway_extra,
        live.unreachable_cluster,
    ):
        report.run(check)
    report.run(lambda report: dkim_agreement(report, corpora))
    # No traces while CPU is measured: the receiver of the test is not what an operator runs.
    with Stack(maker.zone(), StackOptions(trace=False)) as stack:
        checks = live.LiveChecks(stack, maker, corpora)
        report.run(checks.latency)
        report.run(checks.cpu)
        report.run(checks.sessions)
    with Stack(maker.zone()) as stack, live.stopped_cleanly(report, stack):
        checks = live.LiveChecks(stack, maker, corpora)
        for live_check in (checks.ready_file, checks.postfix, checks.traces, checks.bad_messages, checks.bad_clients):
            report.run(live_check)
    report.run(lambda report: live.slow_unsampled(report, maker))
    report.run(lambda report: commands.clean_clone(report, corpora))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
