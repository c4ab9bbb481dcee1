"""`tamis import`: another filter's configuration as ours, with a list of what it cannot carry."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from actors.adapters.dkim_files import file_of, open_table
from actors.dkim.signing.tables import TableError
from cli.config import TamisConfig
from cli.imported import Imported
from cli.opendkim_conf import ConfError, read_settings
from cli.opendkim_import import import_opendkim
from cli.opendkim_tables import Line, TableNotHere, lines_of
from cli.opendmarc_import import import_opendmarc
from wire.config import ConfigError, parse

EXIT_NOT_ALL = 1
EXIT_USAGE = 2


def import_conf(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An opendkim.conf, or an opendmarc.conf.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Write the configuration here, not to standard output.")] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(help="Write Domain, Selector and KeyFile as the files KeyTable and SigningTable here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was made of it as JSON for machines.")] = False,
) -> None:
    """Turn OpenDKIM's configuration into ours, or OpenDMARC's (by the file's name).

    Says on standard error what is not carried, why, and what to do instead.

    Files that are there already are left alone. Exits 0 when all is carried, 1 when something is not, 2 when the file
    cannot be read or nothing can be written.
    """
    try:
        directory = out_dir.absolute() if out_dir else None
        settings = read_settings(file, Path.read_text)
        # Whoever renames a file says with it whose it is: opendmarc-mx1.conf.
        imported = (
            import_opendmarc(settings)
            if "dmarc" in file.name.lower()
            else import_opendkim(settings, _read_lines, directory)
        )
        text = imported.toml(str(file))
        parse(text, TamisConfig, name="the imported configuration")
        for path, content in imported.files.items():
            _write_new(path, content)
        if out:
            _write_new(out, text)
    except (ConfError, ConfigError) as error:
        print(f"tamis import: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    except OSError as error:
        print(f"tamis import: {error.filename}: {error.strerror}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    if as_json:
        print(json.dumps(_as_json(imported, "" if out else text)))
    else:
        _show(imported, "" if out else text)
    if imported.lost or imported.mistakes:
        raise SystemExit(EXIT_NOT_ALL)


def _read_lines(setting: str) -> Sequence[Line]:
    """Raises TableError, for a file that cannot be opened TableNotHere."""
    path = file_of(setting)
    if path is None:
        return [Line(entry) for entry in asyncio.run(open_table(setting).entries())]
    try:
        return lines_of(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise TableNotHere(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not text") from error


def _show(imported: Imported, text: str) -> None:
    sys.stdout.write(text)
    for heading, remarks in (
        ("not understood", imported.mistakes),
        ("not carried", imported.lost),
        ("different here", imported.different),
    ):
        for remark in remarks:
            print(f"{heading}: {remark}", file=sys.stderr)
    if imported.without_object:
        print(f"without object here: {', '.join(imported.without_object)}", file=sys.stderr)


def _as_json(imported: Imported, text: str) -> dict[str, object]:
    def told(remarks: Sequence[object]) -> list[str]:
        return [str(remark) for remark in remarks]

    return {
        "config": text,
        "files": [str(path) for path in imported.files],
        "not_understood": told(imported.mistakes),
        "not_carried": told(imported.lost),
        "different": told(imported.different),
        "without_object": list(imported.without_object),
    }


def _write_new(path: Path, content: str) -> None:
    """A file that is not there yet and that its owner alone can read: it may hold a password. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
