"""Acceptance of the commands: demo from a clean clone, configuration mistakes, the gateway extra alone, scan."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.samples import SampleMaker
from tests.acceptance.report import Report

PROJECT = Path(__file__).resolve().parents[2]
TAMIS = [sys.executable, "-m", "cli"]


def run(*command: str, cwd: Path = PROJECT, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


def figures(module: str, *arguments: str, timeout_s: float = 180.0) -> dict[str, Any]:
    """What a benchmark prints with --json. Raises RuntimeError when it gave none."""
    done = run(sys.executable, "-m", module, "--json", *arguments, timeout_s=timeout_s)
    lines = done.stdout.splitlines()
    if not lines:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr[-500:]}")
    numbers: dict[str, Any] = json.loads(lines[-1])
    return numbers


def clean_clone(report: Report, corpora: Path | None) -> None:
    """The two commands of the README in an empty directory, installs included."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("VIRTUAL_ENV", "MAKE"))}
    if corpora is not None:
        environment["TAMIS_CORPORA"] = str(corpora)
    with tempfile.TemporaryDirectory(prefix="tamis-clone-", dir="/tmp") as directory:
        clone = Path(directory) / "tamis"
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
        took_s = timed("make", "demo", cwd=clone, environment=environment, wanted="action")
        report.at_most("demo_from_clean_clone_s", took_s, 300, "make demo")
        took_s = timed("make", "test", cwd=clone, environment=environment, wanted=" passed in ")
        report.at_most("make_test_s", took_s, 900, "make test")


def timed(*command: str, cwd: Path, environment: dict[str, str], wanted: str) -> float:
    """Seconds that a command took; it has to succeed and print what is wanted."""
    started = time.monotonic()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False, env=environment)
    if done.returncode or wanted not in done.stdout:
        print(done.stdout[-3000:], done.stderr[-2000:], file=sys.stderr)
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}")
    return time.monotonic() - started


def generated_code(report: Report) -> None:
    """The committed code is what the contract generates."""
    report.true("generated_code_fresh", run("proto/generate", "--check").returncode == 0, "proto/generate --check")


def gateway_imports(report: Report) -> None:
    """The gateway's modules load none of the heavy ones."""
    code = "import gateway.server, gateway.__main__, sys; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in run(sys.executable, "-c", code).stdout.split()}
    heavy = loaded & {"ray", "numpy", "redis", "actors", "cluster"}
    report.true(
        "gateway_imports", "gateway" in loaded and not heavy, "python -c 'import gateway.server'", ",".join(heavy)
    )


def gateway_extra(report: Report) -> None:
    """`tamis --help` and `tamis send` in an environment with the gateway extra alone."""
    with tempfile.TemporaryDirectory(prefix="tamis-extra-", dir="/tmp") as directory:
        venv = Path(directory) / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin" / "pip"), "install", "--quiet", f"{PROJECT}[gateway]"]
        subprocess.run(pip, check=True, capture_output=True, timeout=200)
        mail = Path(directory) / "mail.eml"
        mail.write_bytes(SampleMaker().samples()[0].raw)
        tamis = str(venv / "bin" / "tamis")
        shown = run(tamis, "--help", cwd=Path(directory))
        sent = run(tamis, "send", "--to", "inet:9@127.0.0.1", str(mail), cwd=Path(directory))
        no_ray = run(str(venv / "bin" / "python"), "-c", "import ray", cwd=Path(directory)).returncode != 0
        packages = len(list((venv / "lib").rglob("*.dist-info")))
    works = shown.returncode == 0 and sent.returncode == 1 and "Traceback" not in sent.stderr and no_ray
    report.true("gateway_extra_commands", works, "pip install tamis[gateway]; tamis send", f"{packages} packages")


def scan_json(report: Report) -> None:
    """`tamis scan --local --json --dns-zone`: the documented object, and no errors without services."""
    maker = SampleMaker()
    with tempfile.TemporaryDirectory(prefix="tamis-scan-", dir="/tmp") as directory:
        mail, zone = Path(directory) / "mail.eml", Path(directory) / "zone"
        mail.write_bytes(maker.samples()[0].raw)
        zone.write_text("".join(f"{n} {t} {data}\n" for (n, t), items in maker.zone().items() for data in items))
        command = [*TAMIS, "scan", "--local", "--json", "--dns-zone", str(zone), "--client-ip", "192.0.2.25"]
        done = run(*command, "--sender", "anna@shop.example", str(mail))
    row = json.loads(done.stdout)
    keys = {"file", "action", "score", "reply", "reasons", "degraded", "findings", "edits"}
    outcomes = {(finding["name"], finding["outcome"]) for finding in row["findings"]}
    right = {("dkim", "pass"), ("spf", "pass"), ("dmarc", "pass")} <= outcomes
    shape = keys <= row.keys() and all("ms" in finding for finding in row["findings"])
    report.true("scan_json", right and shape and row["file"] == str(mail), "tamis scan --local --json --dns-zone Z F")
    errors = [finding["name"] for finding in row["findings"] if finding["outcome"] == "error"]
    clean = not errors and not row["degraded"]
    report.true("scan_local_without_services", clean, "tamis scan --local --json F", ",".join(errors))


def config_mistakes(report: Report) -> None:
    """Exit code 2 and one clear line for each."""
    with tempfile.TemporaryDirectory(prefix="tamis-config-", dir="/tmp") as directory, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        mistakes = {
            "bad_unknown_key": ("[dns]\nnameserver = []\n", ":2: unknown key `nameserver`"),
            "bad_wrong_type": ('[dns]\n\ntimeout_s = "two"\n', ":3: Expected `float`, got `str`"),
            "bad_port_in_use": (f'[gateway]\nlisten = ["inet:{port}@127.0.0.1"]\n', f"{port}"),
        }
        for name, (text, expected) in mistakes.items():
            config = Path(directory) / f"{name}.toml"
            config.write_text(text)
            for command in ([*TAMIS, "up"], [sys.executable, "-m", "gateway"]):
                if name != "bad_port_in_use" and "gateway" in command:
                    continue
                done = run(*command, "--config", str(config), timeout_s=60)
                lines = [line for line in done.stderr.splitlines() if line.strip()]
                fine = done.returncode == 2 and len(lines) == 1 and expected in lines[0]
                if not fine:
                    break
            figure = f"exit_{done.returncode},{len(lines)}_line"
            report.true(name, fine, f"tamis up --config {name}.toml", figure)


def gateway_start(report: Report) -> None:
    """From exec to listening."""
    report.at_most("gateway_start_s", start_s(), 1.0, "python -m gateway --ready-file F")


def start_s() -> float:
    """From exec to listening, median of five."""
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="tamis-start-", dir="/tmp") as directory:
        for number in range(5):
            config, ready = Path(directory) / "t.toml", Path(directory) / f"ready{number}"
            config.write_text('[gateway]\nlisten = ["inet:0@127.0.0.1"]\nops_listen = "127.0.0.1:0"\n')
            started = time.monotonic()
            command = [sys.executable, "-m", "gateway", "--config", str(config), "--ready-file", str(ready)]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as gateway:
                while not ready.exists() and gateway.poll() is None:
                    time.sleep(0.005)
                times.append(time.monotonic() - started)
                gateway.terminate()
    return sorted(times)[2]
