"""The command `tamis`: a table of subcommands, each imported only when it runs.

`tamis --help` and `tamis send` must work on a mail host that has the gateway extra alone, so nothing of a subcommand
is imported to list it. Typer reads a subcommand's own words; the first word is ours.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import typer

EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class Subcommand:
    """Where a subcommand lives and what the list says about it."""

    module: str
    function: str
    """Or a table of them, for a command that has a second word."""
    summary: str


SUBCOMMANDS = {
    "up": Subcommand("cli.up", "up", "Run everything on this machine: Valkey, Ray, cluster and gateway."),
    "status": Subcommand("cli.status", "status", "Show a cell: nodes, processes, pools, rollout, problems."),
    "reload": Subcommand(
        "cli.rollout", "reload", "Check a configuration file, then bring it to the running cell: judgement and pools."
    ),
    "rollout": Subcommand("cli.rollout", "VERBS", "Replace the processes of a cell: start, status, stop, back."),
    "drain": Subcommand(
        "cli.drain", "drain", "Have all ingresses of the cell refuse new transactions: gateways go elsewhere."
    ),
    "node": Subcommand("cli.drain", "VERBS", "The nodes of a cell: list, drain."),
    "join": Subcommand("cli.join", "join", "Make this machine a further node of a cell."),
    "send": Subcommand("cli.send", "send", "Play the MTA: send mail files to a milter, show verdict and edits."),
    "scan": Subcommand("cli.scan", "scan", "Show the verdict on mail files, from the cluster or --local."),
    "mirror": Subcommand("cli.mirror", "mirror", "Compare what a mirrored cell says with what the live one said."),
    "dmarc": Subcommand("cli.dmarc", "VERBS", "DMARC aggregate reports: report (make, send or write), show."),
    "dkim": Subcommand(
        "cli.dkim",
        "VERBS",
        "DKIM keys and signatures: genkey, genzone, testkey, store-key, rotate, sign, verify, explain.",
    ),
    "import": Subcommand(
        "cli.imports",
        "import_conf",
        "Turn OpenDKIM's configuration into ours, or OpenDMARC's: TOML, and what is not carried.",
    ),
    "campaign": Subcommand(
        "cli.campaign", "VERBS", "Near-duplicates of reported spam: report and forget mail files, show campaigns."
    ),
    "model": Subcommand("cli.model", "VERBS", "Spam models: show (check a file), report (how the second compares)."),
    "learn": Subcommand("cli.learn", "learn", "Teach the classifier of a running cell: mail is spam, or is not."),
    "train": Subcommand("cli.train", "train", "Train the spam model from folders of ham and spam."),
    "evaluate": Subcommand(
        "cli.evaluate",
        "evaluate",
        "Measure the spam model on labelled mail: (1-AUC) %, recall, calibration, plots; bogofilter beside it.",
    ),
}

# What each extra brings, so that a missing one is named instead of a stack trace.
_OURS = frozenset({"actors", "cli", "cluster", "gateway", "tamis", "wire"})
_EXTRA_OF = {"grpc": "gateway", "opentelemetry": "gateway", "prometheus_client": "gateway", "uvloop": "gateway"}


def main(words: list[str] | None = None) -> None:
    """Run the subcommand that the first word names. Raises SystemExit with the command's exit code."""
    name, *rest = (sys.argv[1:] if words is None else words) or ["--help"]
    if name in {"-h", "--help"}:
        print(usage())
    elif name == "--version":
        print(f"tamis {version('tamis')}")
    elif name in SUBCOMMANDS:
        _run(name, rest)
    else:
        _refuse(f"no command `{name}`; there are: {', '.join(SUBCOMMANDS)}")


def usage() -> str:
    """The list of commands, in the order in which a newcomer needs them."""
    lines = [f"  {name:<8} {subcommand.summary}" for name, subcommand in SUBCOMMANDS.items()]
    head = ["Usage: tamis COMMAND [OPTIONS]", "", "Tamis, a mail filter for large providers.", "", "Commands:"]
    return "\n".join(
        [*head, *lines, "", "`tamis COMMAND --help` explains a command, `tamis --version` names this one."]
    )


def _run(name: str, words: list[str]) -> None:
    subcommand = SUBCOMMANDS[name]
    app = typer.Typer(
        help=subcommand.summary,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    try:
        found: Any = getattr(importlib.import_module(subcommand.module), subcommand.function)
        verbs: dict[str, Callable[..., Any]] = found if isinstance(found, dict) else {name: found}
        for verb, function in verbs.items():
            app.command(name=verb)(function)
        app(words, prog_name=f"tamis {name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0], "cluster")
        _refuse(f"`{name}` needs more than is installed here ({error.name}): pip install 'tamis[{extra}]'")


def _refuse(text: str) -> None:
    print(f"tamis: {text}", file=sys.stderr)
    raise SystemExit(EXIT_USAGE)


if __name__ == "__main__":
    main()
