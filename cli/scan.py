"""`tamis scan`: the verdict on mail files, from the cluster or, with --local, from this process alone.

Files are read, judged and shown one after the other, so that any number of them needs the memory of one. A file that
cannot be judged costs its own row and the exit code 1, never the others.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from actors.config import JudgementConfig
from actors.model import Client, Envelope, Message, Recipient, Verdict
from cli.channel import channel_credentials, first_ingress, open_channel
from cli.config import load_config
from cli.mail_file import read_mail_file
from cli.moment import MomentError, moment, received_at_s
from wire.config import ConfigError

if TYPE_CHECKING:
    import grpc

EXIT_FAILED = 1
EXIT_USAGE = 2

Judge = Callable[[Message], Awaitable[Verdict]]


class ScanError(Exception):
    """No file can be scanned so; the text is one line for the operator."""


class ClusterAwayError(Exception):
    """The cluster cannot be reached; the text is one line."""


class FileError(Exception):
    """This one file cannot be judged; the text is one line without the file's name."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What the command line says about the envelope and the clock."""

    client_ip: str
    helo: str
    sender: bytes | None
    recipients: tuple[bytes, ...]
    now_s: float | None
    """Unix time at which every message is judged; None: the time of its topmost Received."""


def scan(  # noqa: PLR0913  the options of the command
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Mail files (RFC 5322; an mbox From line is dropped).")
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a file, in the order of the files.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Judge in this process, without a cluster.")] = False,
    config: Annotated[Path | None, typer.Option(help="Configuration file.")] = None,
    to: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="gRPC address of the cluster; default: [gateway] ingress.")
    ] = "",
    dns_zone: Annotated[
        Path | None, typer.Option(help="With --local: answer DNS from this file, ask no name server.")
    ] = None,
    now: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="ISO 8601 time to judge at; `message`: that of its topmost Received, else Date; default: now.",
        ),
    ] = None,
    client_ip: Annotated[str, typer.Option(help="IP address of the SMTP client; without it SPF is skipped.")] = "",
    helo: Annotated[str, typer.Option(help="HELO name of the SMTP client.")] = "",
    sender: Annotated[str | None, typer.Option(help="Envelope sender; default: Return-Path of the file.")] = None,
    recipient: Annotated[list[str] | None, typer.Option(help="Envelope recipient; may be repeated.")] = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, max=3600, help="Seconds for one message.")] = 30.0,
) -> None:
    """Show the verdict on mail files, from the cluster or --local.

    Exits 0 when every file got a verdict, 1 when some got none, 2 when the options allow none.
    """
    try:
        _check(dns_zone, local=local)
        settings = load_config(config)
        options = ScanOptions(
            client_ip,
            helo,
            None if sender is None else os.fsencode(sender),
            tuple(os.fsencode(address) for address in recipient or ()),
            moment(now),
        )
        if local:
            judge = _judge_here(settings.judgement(), dns_zone, timeout_s)
        else:
            address = to or first_ingress(settings.gateway)
            judge = _judge_there(address, channel_credentials(address, settings.gateway.tls), timeout_s)
        failed = asyncio.run(_scan_all(files, options, judge, _show_json if as_json else _show_text))
    except (ScanError, MomentError, ConfigError) as error:
        print(f"tamis scan: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    except ClusterAwayError as error:
        print(f"tamis scan: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error
    if failed:
        raise SystemExit(EXIT_FAILED)


def _check(dns_zone: Path | None, *, local: bool) -> None:
    if dns_zone is not None and not local:
        raise ScanError("--dns-zone needs --local: the cluster asks its own resolvers")


async def _scan_all(
    files: Sequence[Path],
    options: ScanOptions,
    judging: contextlib.AbstractAsyncContextManager[Judge],
    show: Callable[[dict[str, Any]], None],
) -> int:
    """Show a row for each file, in order; how many got no verdict."""
    failed = 0
    async with judging as judge:
        for path in files:
            try:
                row = verdict_as_json(str(path), await judge(_message(path, options)))
            except FileError as error:
                failed += 1
                row = error_as_json(str(path), str(error))
            show(row)
    return failed


def _message(path: Path, options: ScanOptions) -> Message:
    """Raises FileError."""
    try:
        mail = read_mail_file(path, options.sender, options.recipients)
    except OSError as error:
        raise FileError(error.strerror or str(error)) from error
    envelope = Envelope(
        transaction_id=os.urandom(16),
        client=Client(ip=options.client_ip, helo=os.fsencode(options.helo)),
        sender=mail.sender,
        recipients=tuple(map(Recipient, mail.recipients)),
        received_at_s=received_at_s(mail) if options.now_s is None else options.now_s,
        explained=True,
    )
    return Message(envelope, mail.header_block, mail.body)


@contextlib.asynccontextmanager
async def _judge_here(config: JudgementConfig, dns_zone: Path | None, timeout_s: float) -> AsyncIterator[Judge]:
    """The actors in this process. Raises ScanError for what they cannot be built from."""
    from actors.adapters.clock import SystemClock
    from actors.adapters.dns import DnsResolver
    from actors.adapters.zone import ZoneResolver
    from actors.antivirus.yara import RuleError
    from actors.classifier.model import ModelError
    from actors.decide import decide
    from actors.examine import examine_all
    from actors.registry import ACTOR_NAMES, build_actor

    clock = SystemClock()
    try:
        # One for all actors: what one has asked the others know.
        resolver = ZoneResolver.from_file(dns_zone) if dns_zone else DnsResolver(config.dns, clock)
    except (OSError, ValueError) as error:
        raise ScanError(f"--dns-zone: {error}") from error
    async with contextlib.AsyncExitStack() as built:
        built.push_async_callback(resolver.close)
        actors = []
        for name in ACTOR_NAMES:
            try:
                actors.append(build_actor(name, config, clock, resolver))
            except (ModelError, RuleError, OSError, ValueError) as error:
                raise ScanError(f"the actor {name} cannot be built: {error}") from error
            built.push_async_callback(actors[-1].close)

        async def judge(message: Message) -> Verdict:
            findings = await examine_all(actors, message, clock, timeout_s)
            return decide(findings, message, config, expected=ACTOR_NAMES)

        yield judge


@contextlib.asynccontextmanager
async def _judge_there(
    address: str, credentials: "grpc.ChannelCredentials | None", timeout_s: float
) -> AsyncIterator[Judge]:
    """The cluster. Its judge raises ClusterAwayError, and FileError for an answer that is about the message."""
    import grpc

    from cluster.codec import message_to_proto, verdict_from_proto
    from tamis.filter.v1.filter_service_pb2 import ScanRequest
    from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub

    async with open_channel(grpc.aio, address, credentials) as channel:
        stub = FilterServiceStub(channel)

        async def judge(message: Message) -> Verdict:
            try:
                response = await stub.Scan(ScanRequest(message=message_to_proto(message)), timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                line = f"{address}: {error.code().name}: {error.details()}"
                # What comes while its server stops, gRPC cancels.
                away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
                raise (ClusterAwayError if away else FileError)(line) from error
            return verdict_from_proto(response.verdict)

        yield judge


def verdict_as_json(file: str, verdict: Verdict) -> dict[str, Any]:
    """The documented object of `tamis scan --json`; bytes become text with replacement characters."""
    return {
        "file": file,
        "action": str(verdict.action),
        "score": round(verdict.score, 3),
        "reply": msgspec.structs.asdict(verdict.reply) if verdict.reply else None,
        "reasons": list(verdict.reasons),
        "degraded": verdict.degraded,
        "missing": list(verdict.missing),
        "findings": [
            {
                "actor": finding.actor,
                "name": finding.name,
                "outcome": str(finding.outcome),
                "score": round(finding.score, 4),
                "detail": finding.detail,
                "ms": round(finding.ms, 3),
                "facts": dict(finding.facts),
            }
            for finding in verdict.findings
        ],
        "edits": [
            {"edit": type(edit).__name__, **{key: _text(value) for key, value in msgspec.structs.asdict(edit).items()}}
            for edit in verdict.edits
        ],
        "error": "",
    }


def error_as_json(file: str, error: str) -> dict[str, Any]:
    """The same object for a file that got no verdict: no action, and why."""
    return {
        "file": file,
        "action": "",
        "score": 0.0,
        "reply": None,
        "reasons": [],
        "degraded": False,
        "missing": [],
        "findings": [],
        "edits": [],
        "error": error,
    }


def _text(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _show_json(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


def _show_text(row: dict[str, Any]) -> None:
    if row["error"]:
        print(_printable(f"tamis scan: {row['file']}: {row['error']}"), file=sys.stderr, flush=True)
    else:
        print(_printable(_as_text(row)), flush=True)


def _printable(text: str) -> str:
    r"""With `\xHH` for what a terminal takes for a command, and for bytes of a file name that are no UTF-8."""
    shown = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(shown)


def _as_text(row: dict[str, Any]) -> str:
    reply = f"  {row['reply']['code']} {row['reply']['enhanced']} {row['reply']['text']}" if row["reply"] else ""
    lines = [f"{row['file']}: {row['action']}  score {row['score']}{reply}"]
    lines += [f"    {reason}" for reason in row["reasons"]]
    lines += [
        f"  {finding['actor']:<10} {finding['name']:<14} {finding['outcome']:<10} {finding['ms']:>7.2f} ms  "
        f"{finding['detail']}".rstrip()
        for finding in row["findings"]
    ]
    return "\n".join(lines)
