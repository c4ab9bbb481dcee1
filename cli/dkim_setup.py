"""What the verbs of `tamis dkim` share: options, the keys that they or the configuration name, and one way to end."""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from actors.adapters.clock import SystemClock
from actors.adapters.dkim_sources import SigningSources
from actors.adapters.dns import DnsResolver
from actors.adapters.zone import ZoneResolver
from actors.dkim.signing.options import key_is_path
from actors.dkim.signing.private_key import PrivateKey, PrivateKeyError
from actors.dkim.signing.sign import SigningError
from actors.dkim.signing.tables import Entry, SigningRequest, TableError, is_for_any_domain, parse_key_entry
from actors.ports import Resolver
from cli.config import TamisConfig
from cli.moment import MomentError
from wire.config import ConfigError

EXIT_FAILED = 1
EXIT_USAGE = 2

ConfigOption = Annotated[Path | None, typer.Option(help="Configuration file with [dkim.signing].")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines.")]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(metavar="DOMAIN:SELECTOR:FILE", help="Key instead of those of the configuration; may be repeated."),
]
ZoneOption = Annotated[Path | None, typer.Option(help="Answer DNS from this file, ask no name server.")]
NowOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="ISO 8601 time; `message`: that of its topmost Received, else Date; default: now."
    ),
]


class UsageError(Exception):
    """The options allow nothing; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """One key as a table or an option names it."""

    request: SigningRequest
    key: PrivateKey | PrivateKeyError

    def usable(self) -> PrivateKey:
        """The key. Raises PrivateKeyError when it cannot be used."""
        if isinstance(self.key, PrivateKeyError):
            raise self.key
        return self.key


def run(verb: str, work: Coroutine[object, object, bool]) -> None:
    """Run a verb to its end: exit code 1 when it says False or cannot, 2 when it was asked for what cannot be."""
    try:
        fine = asyncio.run(work)
    except (UsageError, MomentError, ConfigError, TableError) as error:
        print(f"tamis dkim {verb}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    except (PrivateKeyError, SigningError, OSError) as error:
        print(f"tamis dkim {verb}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error
    if not fine:
        raise SystemExit(EXIT_FAILED)


@asynccontextmanager
async def signing_sources(settings: TamisConfig) -> AsyncIterator[SigningSources]:
    """What the settings sign with, closed at the end. Raises TableError."""
    sources = SigningSources(settings.dkim.signing, settings.redis, SystemClock())
    try:
        yield sources
    finally:
        await sources.close()


async def loaded(requests: Sequence[SigningRequest], sources: SigningSources) -> list[NamedKey]:
    """The keys that are asked for, each read or with the reason why not."""
    keys: list[NamedKey] = []
    for request in requests:
        try:
            keys.append(NamedKey(request, await sources.key(request.key)))
        except PrivateKeyError as error:
            keys.append(NamedKey(request, error))
    return keys


def requests_of_options(options: Sequence[str]) -> list[SigningRequest]:
    """What --key says, as a KeyTable would. Raises UsageError."""
    requests = []
    for option in options:
        domain, selector, path = (*option.split(":", 2), "", "")[:3]
        plain = path if key_is_path(path) or not path else f"./{path}"
        try:
            # The option's text is never told: who mistakes its form may have put a key there.
            requests.append(parse_key_entry(Entry(f"{selector}._domainkey.{domain}", f"{domain}:{selector}:{plain}")))
        except TableError as error:
            raise UsageError("--key is not DOMAIN:SELECTOR:FILE") from error
    return requests


async def requests_of_table(sources: SigningSources) -> list[SigningRequest]:
    """Every key of the KeyTable; not those for any domain ("%"). Raises TableError and UsageError."""
    entries = await sources.tables.keys.entries()
    if not entries:
        raise UsageError("no key: say --key, or --config with [dkim.signing] key_table")
    requests = []
    for entry in entries:
        if is_for_any_domain(entry):
            print(f"{entry.name}: for the author's domain, whichever it is: left out", file=sys.stderr)
        else:
            requests.append(parse_key_entry(entry))
    return requests


async def chosen_keys(options: Sequence[str] | None, settings: TamisConfig) -> list[NamedKey]:
    """The keys of --key, else all of the KeyTable. Raises TableError and UsageError."""
    async with signing_sources(settings) as sources:
        requests = requests_of_options(options) if options else await requests_of_table(sources)
        return await loaded(requests, sources)


def open_resolver(settings: TamisConfig, dns_zone: Path | None) -> Resolver:
    """DNS, or the zone file in its place. Raises UsageError."""
    try:
        return ZoneResolver.from_file(dns_zone) if dns_zone else DnsResolver(settings.dns, SystemClock())
    except (OSError, ValueError) as error:
        raise UsageError(f"--dns-zone: {error}") from error
