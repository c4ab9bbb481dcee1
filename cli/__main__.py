"""The command `tamis`: a table of subcommands, each imported only when it runs.

`tamis --help` and `tamis send` must work on a mail host that has the gateway extra alone, so nothing of a subcommand
is imported to list it.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import typer


@dataclass(frozen=True, slots=True)
class Subcommand:
    """Where a subcommand lives and what the list says about it."""

    module: str
    function: str
    summary: str


SUBCOMMANDS = {
    "up": Subcommand("cli.up", "up", "Run everything on this machine: Valkey, Ray, cluster and gateway."),
    "send": Subcommand("cli.send", "send", "Play the MTA: send mail files to a milter, show verdict and edits."),
    "scan": Subcommand("cli.scan", "scan", "Show the verdict on mail files, from the cluster or --local."),
    "train": Subcommand("cli.train", "train", "Train the spam model from folders of ham and spam."),
}

# What each extra brings, so that a missing one is named instead of a stack trace.
_EXTRA_OF = {"ray": "cluster", "numpy": "cluster", "aiodns": "cluster", "redis": "cluster", "grpc": "gateway"}


class LazyGroup(click.Group):
    """A group whose commands come from SUBCOMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names in the order in which a newcomer needs them."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the subcommand and let typer read its signature."""
        subcommand = SUBCOMMANDS.get(cmd_name)
        if subcommand is None:
            return None
        try:
            function: Callable[..., Any] = getattr(importlib.import_module(subcommand.module), subcommand.function)
        except ModuleNotFoundError as error:
            extra = _EXTRA_OF.get((error.name or "").split(".")[0])
            if extra is None:
                raise
            ctx.fail(f"`tamis {cmd_name}` needs more than is installed here: pip install 'tamis[{extra}]'")
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(name=cmd_name, help=subcommand.summary)(function)
        return typer.main.get_command(app)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the summaries without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, subcommand.summary) for name, subcommand in SUBCOMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tamis", prog_name="tamis")
def main() -> None:
    """Tamis, a mail filter for large providers."""


if __name__ == "__main__":
    sys.exit(main())
