"""`tamis dkim store-key`: private keys into Redis, sealed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from actors.adapters.dkim_files import read_secret
from actors.adapters.dkim_keys import check_key_name
from actors.dkim.signing.private_key import KEY_BYTES_MAX, load_private_key
from cli.config import load_config
from cli.dkim_setup import ConfigOption, UsageError, run, signing_sources


def store_key(
    name: Annotated[str, typer.Argument(help="NAME of `redis:NAME` in a KeyTable.")] = "",
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Private key; - is standard input.")] = None,
    *,
    config: ConfigOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Also when there is a key of that name.")] = False,
    rewrap: Annotated[
        bool, typer.Option("--rewrap", help="Seal all keys that are there anew, with the first of key_encryption_keys.")
    ] = False,
) -> None:
    """Put a private key into Redis, encrypted with the first of [dkim.signing] key_encryption_keys.

    Exits 1 when it cannot be read or stored, is there already, or when some cannot be opened to be sealed anew; 2 for
    wrong options.
    """

    async def work() -> bool:
        if rewrap == bool(name and file):
            raise UsageError("say NAME and FILE, or --rewrap")
        settings = load_config(config)
        async with signing_sources(settings) as sources:
            keys = sources.redis_keys()
            if rewrap or file is None:
                count, failed = await keys.rewrap()
                print(f"{count} keys sealed anew")
                for one in failed:
                    print(f"{one}: no key of key_encryption_keys opens it", file=sys.stderr)
                return not failed
            check_key_name(name)
            text = sys.stdin.buffer.read(KEY_BYTES_MAX + 1) if file == Path("-") else read_secret(file)[0]
            key = load_private_key(text, settings.dkim.signing.key_bits_min)
            key.validate()
            if await keys.store(name, key.pem(), replace=replace):
                print(f"redis:{name}: {key.key_type}, {key.bits} bits")
                return True
            print(f"tamis dkim store-key: there is a key {name}; --replace puts this one in its place", file=sys.stderr)
            return False

    run("store-key", work())
