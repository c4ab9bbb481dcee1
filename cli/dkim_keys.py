"""`tamis dkim genkey`, `genzone` and `testkey`: the life of a key before the first signature."""

import asyncio
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from actors.adapters.names import question_name
from actors.dkim.key import KeyRecordError, first_usable_key
from actors.dkim.signing.private_key import RSA_BITS, PrivateKey, PrivateKeyError, generate_ed25519, generate_rsa
from actors.dkim.signing.publication import (
    PublishedKey,
    RecordOptions,
    key_record,
    nsupdate_lines,
    txt_strings,
    zone_lines,
)
from actors.dkim.signing.tables import is_name
from actors.domains import ascii_domain
from actors.ports import LookupFailed, NameNotFound, Resolver
from cli.config import load_config
from cli.dkim_setup import (
    ConfigOption,
    JsonOption,
    KeyOption,
    NamedKey,
    UsageError,
    ZoneOption,
    chosen_keys,
    open_resolver,
    run,
)

_LOOKUP_TIMEOUT_S = 10.0
_TOGETHER = 50
"""Keys that are looked up at the same time."""
_TTL_S = 3600


class KeyType(StrEnum):
    """What genkey makes."""

    RSA = "rsa"
    ED25519 = "ed25519"


class ZoneFormat(StrEnum):
    """What genzone writes."""

    BIND = "bind"
    NSUPDATE = "nsupdate"


def genkey(  # noqa: PLR0913  the options of the command
    *,
    domain: Annotated[str, typer.Option("--domain", "-d", help="Domain that will sign (d=).")],
    selector: Annotated[str, typer.Option("--selector", "-s", help="Name of the key (s=).")],
    key_type: Annotated[KeyType, typer.Option("--type", help="Kind of key.")] = KeyType.RSA,
    bits: Annotated[int, typer.Option(help=f"Size of an RSA key: {', '.join(map(str, RSA_BITS))}.")] = RSA_BITS[0],
    out: Annotated[Path, typer.Option(help="Directory for SELECTOR.private and SELECTOR.txt.")] = Path(),
    testmode: Annotated[bool, typer.Option("--testmode", help="t=y: verifiers are to ignore failures.")] = False,
    subdomains: Annotated[bool, typer.Option(help="Without: t=s, the key is not for subdomains in i=.")] = True,
    email_only: Annotated[bool, typer.Option("--restrict", help="s=email: the key is for mail alone.")] = False,
    hash_algorithms: Annotated[str, typer.Option(help="h=, separated by colons, as sha256.")] = "",
    note: Annotated[str, typer.Option(help="n=, a remark for people.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a key: SELECTOR.private, which its owner alone can read, and SELECTOR.txt with the record to publish.

    Files that are there already are left alone. Exits 1 when a file cannot be written, 2 for wrong options.
    """

    async def work() -> bool:
        signing_domain = _checked_domain(domain, selector)
        private, public = out / f"{selector}.private", out / f"{selector}.txt"
        hashes = tuple(filter(None, hash_algorithms.split(":")))
        options = RecordOptions(testmode, not subdomains, email_only, hashes, note)
        try:
            key = generate_ed25519() if key_type is KeyType.ED25519 else generate_rsa(bits)
            published = PublishedKey(signing_domain, selector, key_record(key, options))
        except (PrivateKeyError, ValueError) as error:
            raise UsageError(str(error)) from error
        _write_new(private, key.pem(), 0o600)
        _write_new(public, ("\n".join(zone_lines([published])) + "\n").encode(), 0o644)
        if as_json:
            print(json.dumps(_as_json(published, key) | {"private_key": str(private), "zone_file": str(public)}))
        else:
            print(f"{private}\n{public}")
        return True

    run("genkey", work())


def genzone(  # noqa: PLR0913  the options of the command
    *,
    key: KeyOption = None,
    config: ConfigOption = None,
    form: Annotated[ZoneFormat, typer.Option("--format", help="Lines of a zone file, or a script for nsupdate.")] = (
        ZoneFormat.BIND
    ),
    origin: Annotated[str, typer.Option(help="Zone: names below it are written relative to it; nsupdate's zone.")] = "",
    ttl_s: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="TTL of the records.")] = _TTL_S,
    server: Annotated[str, typer.Option(help="nsupdate: name server to be told.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Write the key records of --key, or of every key in the KeyTable, for a name server.

    Exits 1 when a key cannot be read: then nothing is written. Exits 2 for wrong options.
    """

    async def work() -> bool:
        chosen = await chosen_keys(key, load_config(config))
        published = [(_published(one), one.usable()) for one in chosen]
        keys = [one for one, _ in published]
        zone = origin.lower().rstrip(".")
        if as_json:
            for one, private in published:
                print(json.dumps(_as_json(one, private)))
        elif form is ZoneFormat.NSUPDATE:
            print("\n".join(nsupdate_lines(keys, ttl_s, server, zone)))
        else:
            print("\n".join([*([f"$ORIGIN {zone}."] if zone else []), *zone_lines(keys, ttl_s, zone)]))
        return True

    run("genzone", work())


def check_published(
    *,
    key: KeyOption = None,
    config: ConfigOption = None,
    dns_zone: ZoneOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what is published with the private keys: those of --key, or every key in the KeyTable.

    Exits 0 when all match, 1 when one does not, is not published or cannot be read, 2 for wrong options.
    """

    async def work() -> bool:
        settings = load_config(config)
        keys = await chosen_keys(key, settings)
        resolver = open_resolver(settings, dns_zone)
        fine = True
        try:
            for start in range(0, len(keys), _TOGETHER):
                together = keys[start : start + _TOGETHER]
                for one, problem in zip(
                    together, await asyncio.gather(*(_problem(one, resolver) for one in together)), strict=True
                ):
                    fine = fine and not problem
                    _show_test(one, problem, as_json=as_json)
        finally:
            await resolver.close()
        return fine

    run("testkey", work())


def _checked_domain(domain: str, selector: str) -> str:
    """The domain as A-labels. Raises UsageError when one of both cannot stand in the name of a record."""
    name = ascii_domain(domain)
    if not (is_name(name) and _can_be_asked(name)):
        raise UsageError(f"--domain {domain!r}: is no domain name")
    if not (is_name(selector) and _can_be_asked(f"{selector}._domainkey.{name}")):
        raise UsageError(f"--selector {selector!r}: a selector is letters, digits, - and _, of 63 in a row at most")
    return name


def _can_be_asked(name: str) -> bool:
    try:
        question_name(name)
    except NameNotFound:
        return False
    return True


async def _problem(one: NamedKey, resolver: Resolver) -> str:
    """Why signatures with this key would not be taken, empty when they would."""
    try:
        key = one.usable()
        key.validate()
        async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
            published = first_usable_key(await resolver.txt(_name(one)))
    except NameNotFound:
        return "no key record"
    except (LookupFailed, TimeoutError):
        return "key lookup failed"
    except (KeyRecordError, PrivateKeyError) as error:
        return str(error)
    if not key.matches(published):
        return "another key is published"
    return "" if published.sha256_allowed else "the published key is not for sha256"


def _show_test(one: NamedKey, problem: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"name": _name(one), "key": one.request.name, "ok": not problem, "problem": problem}))
    else:
        print(f"{_name(one)}: {problem or 'key OK'}", file=sys.stderr if problem else sys.stdout)


def _name(one: NamedKey) -> str:
    return f"{one.request.selector}._domainkey.{one.request.domain}"


def _published(one: NamedKey) -> PublishedKey:
    return PublishedKey(one.request.domain, one.request.selector, key_record(one.usable()))


def _as_json(published: PublishedKey, key: PrivateKey) -> dict[str, object]:
    return {
        "name": published.name,
        "type": key.key_type,
        "bits": key.bits,
        "record": published.record,
        "strings": txt_strings(published.record),
    }


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet, never readable by more than `mode` says. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
