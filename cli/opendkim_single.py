"""OpenDKIM's one key (Domain, Selector, KeyFile, SubDomains) as KeyTable and SigningTable. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.dkim.signing.tables import Entry, TableError

_NAME = "key"


class NeedsFiles(Exception):
    """It does not stand in the settings themselves; the text says why."""


@dataclass(frozen=True, slots=True)
class SingleKeyTables:
    """Both settings, and the files that they name."""

    key_table: str
    signing_table: str
    files: Mapping[Path, str]


def single_key_tables(  # noqa: PLR0913  as many as OpenDKIM has
    domains: Sequence[Entry],
    selector: str,
    key_path: str,
    *,
    subdomains: bool,
    patterns: bool,
    out_dir: Path | None,
) -> SingleKeyTables:
    """The tables that choose as OpenDKIM does with these. Raises TableError and NeedsFiles.

    d= is the listed domain, for subdomains the nearest one; for a pattern it is the author's, and so it is for
    everybody when one of the domains is "*".
    """
    anybody = any(domain.name == "*" for domain in domains)
    patterns = patterns and not anybody
    if anybody:
        keys, signing = [Entry(_NAME, f"%:{selector}:{key_path}")], [Entry("*", _NAME)]
    elif patterns:
        if subdomains:
            raise TableError("patterns with SubDomains; list the subdomains as patterns of their own")
        keys = [Entry(_NAME, f"%:{selector}:{key_path}")]
        signing = [Entry(f"*@{domain.name}", _NAME) for domain in domains]
    else:
        keys = [Entry(domain.name, f"{domain.name}:{selector}:{key_path}") for domain in domains]
        signing = [
            Entry(f"{dot}{domain.name}", domain.name)
            for domain in domains
            for dot in (("", ".") if subdomains else ("",))
        ]
    if out_dir is not None:
        paths = out_dir / "KeyTable", out_dir / "SigningTable"
        files = {path: _file(table) for path, table in zip(paths, (keys, signing), strict=True)}
        return SingleKeyTables(f"file:{paths[0]}", f"{'refile' if patterns else 'file'}:{paths[1]}", files)
    if patterns:
        raise NeedsFiles("patterns stand in a file")
    if "," in key_path:
        raise NeedsFiles("a path with a comma stands in a file")
    return SingleKeyTables(_list(keys), _list(signing), {})


def _file(entries: Sequence[Entry]) -> str:
    return "".join(f"{entry.name} {entry.value}\n" for entry in entries)


def _list(entries: Sequence[Entry]) -> str:
    return "csl:" + ",".join(f"{entry.name}={entry.value}" for entry in entries)
