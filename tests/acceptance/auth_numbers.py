"""The lines of `make accept-auth` that are CPU times: `bench.*` measures, the bounds are held here."""

from collections.abc import Mapping

from tests.acceptance import commands
from tests.acceptance.report import Report

COMMAND = "python -m bench.auth"
VERIFY_MS: Mapping[str, tuple[str, float]] = {
    "dkim_verify_4_kb_ms": ("dkim_verify_ms.4_kb", 0.35),
    "dkim_verify_2_mb_ms": ("dkim_verify_ms.2_mb", 10.0),
}
SIGN_COMMAND = "python -m bench.dkim_signing"
SIGN_MS_MAX = 0.9
HOSTILE_MS_MAX = 50.0
HOSTILE: Mapping[str, tuple[str, ...]] = {
    "bad_white_space_cpu_ms": ("spaces_", "tabs_", "empty_lines_", "runs_", "folds_"),
    "bad_h_cpu_ms": ("h_",),
    "bad_b_cpu_ms": ("b_",),
    "bad_header_names_cpu_ms": ("names_", "lines_", "fields_"),
    "bad_keys_cpu_ms": ("key_",),
    "bad_signatures_cpu_ms": ("signature_", "signatures_"),
    "bad_spf_cpu_ms": ("spf_",),
    "bad_chains_cpu_ms": ("chain_", "seal_"),
    "bad_from_and_results_cpu_ms": ("from_", "results_"),
    "bad_dns_cpu_ms": ("dns_",),
}
"""Line to the beginnings of the names of its cases in tests/hostile_mail.py."""


def cpu(report: Report) -> None:
    """Verification of good mail, and the worst of each kind of hostile mail."""
    figures = commands.figures("bench.auth", "--rounds", "3", timeout_s=report.time_s(300.0))
    for line, (name, bound_ms) in VERIFY_MS.items():
        report.at_most(line, figures[name], bound_ms, COMMAND)
    for line, beginnings in HOSTILE.items():
        whole = tuple(f"hostile_ms.{beginning}" for beginning in beginnings)
        worst_ms, name = max((value, name) for name, value in figures.items() if name.startswith(whole))
        shown = f"{worst_ms:.1f}_{name.partition('.')[2]}"
        report.result(line, shown, f"<={HOSTILE_MS_MAX:g}", COMMAND, ok=worst_ms <= HOSTILE_MS_MAX)


def sign_cpu(report: Report) -> None:
    """Signing, beside what OpenSSL takes for the signature alone and opendkim for the whole, in the same run."""
    figures = commands.figures("bench.dkim_signing", timeout_s=report.time_s(120.0))
    ms = figures["sign_ms.rsa_2048"]
    shown = f"{ms:.2f}_openssl_alone_{figures['openssl_ms.rsa_2048']:.2f}"
    if "opendkim_milter_ms" in figures:
        shown += f"_opendkim_milter_{figures['opendkim_milter_ms']:.1f}"
    report.result("sign_rsa_2048_ms", shown, f"<={SIGN_MS_MAX:g}", SIGN_COMMAND, ok=ms <= SIGN_MS_MAX)
