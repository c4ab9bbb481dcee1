"""`tamis scan`: the verdict on mail files, from the cluster or, with --local, from this process alone."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.config import JudgementConfig
from actors.model import Client, Envelope, Message, Recipient, Verdict
from cli.config import load_config
from cli.mail_file import MailFile, read_mail_file, return_path, topmost_received_date
from wire.config import ConfigError

EXIT_FAILED = 1
EXIT_USAGE = 2


class ScanError(Exception):
    """The scan cannot be done; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What the command line says about the envelope and the clock."""

    client_ip: str
    helo: str
    sender: str | None
    recipients: tuple[str, ...]
    now: str | None


def scan(  # noqa: PLR0913  the options of the command
    files: Annotated[list[Path], typer.Argument(help="Mail files (RFC 5322; an mbox From line is dropped).")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Score in this process, without a cluster.")] = False,
    config: Annotated[Path | None, typer.Option(help="Configuration file.")] = None,
    to: Annotated[str, typer.Option(help="gRPC address of the cluster; default: [gateway] ingress.")] = "",
    dns_zone: Annotated[
        Path | None, typer.Option(help="Answer DNS from this file (--local); nothing is asked.")
    ] = None,
    now: Annotated[str | None, typer.Option(help="ISO 8601 time, or `message`: its topmost Received.")] = None,
    client_ip: Annotated[str, typer.Option(help="Address of the SMTP client, for SPF.")] = "",
    helo: Annotated[str, typer.Option(help="HELO name of the SMTP client.")] = "",
    sender: Annotated[str | None, typer.Option(help="Envelope sender; default: Return-Path.")] = None,
    recipient: Annotated[list[str] | None, typer.Option(help="Envelope recipient, may repeat.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Time for one message.")] = 30.0,
) -> None:
    """Show the verdict on mail files."""
    try:
        _check(dns_zone, local=local)
        settings = load_config(config)
        options = ScanOptions(client_ip, helo, sender, tuple(recipient or ()), now)
        messages = [_message(path, options) for path in files]
        if local:
            verdicts = _scan_here(messages, settings.judgement(), dns_zone, timeout_s)
        else:
            verdicts = _scan_there(messages, to or settings.gateway.ingress[0], timeout_s)
        asyncio.run(_show(files, verdicts, as_json=as_json))
    except (ScanError, ConfigError) as error:
        print(f"tamis scan: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    except ConnectionError as error:
        print(f"tamis scan: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error


def _check(dns_zone: Path | None, *, local: bool) -> None:
    if dns_zone is not None and not local:
        raise ScanError("--dns-zone needs --local: the cluster asks its own resolvers")


def _message(path: Path, options: ScanOptions) -> Message:
    try:
        mail = read_mail_file(path)
    except OSError as error:
        raise ScanError(f"{path}: {error.strerror}") from error
    sender = return_path(mail.header_block) if options.sender is None else options.sender.encode()
    envelope = Envelope(
        transaction_id=os.urandom(16),
        client=Client(ip=options.client_ip, helo=options.helo.encode()),
        sender=sender,
        recipients=tuple(Recipient(address.encode()) for address in options.recipients),
        received_at_s=_clock(path, mail, options.now),
    )
    return Message(envelope, mail.header_block, mail.body)


def _clock(path: Path, mail: MailFile, now: str | None) -> float:
    """Unix time at which the message is judged."""
    if now is None:
        return time.time()
    try:
        if now == "message":
            moment = parsedate_to_datetime(topmost_received_date(mail.header_block).decode("latin-1"))
        else:
            moment = datetime.fromisoformat(now)
    except ValueError as error:
        what = f"{path}: no date in the topmost Received" if now == "message" else f"--now {now}: not an ISO 8601 time"
        raise ScanError(what) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _scan_here(
    messages: list[Message], config: JudgementConfig, dns_zone: Path | None, timeout_s: float
) -> AsyncIterator[Verdict]:
    from actors.adapters.clock import SystemClock
    from actors.adapters.dns import DnsResolver
    from actors.adapters.zone import ZoneResolver
    from actors.decide import decide
    from actors.examine import examine_all
    from actors.registry import ACTOR_NAMES, build_actor

    clock = SystemClock()
    try:
        # One for all actors: what one has asked the others know.
        resolver = ZoneResolver.from_file(dns_zone) if dns_zone else DnsResolver(config.dns, clock)
    except (OSError, ValueError) as error:
        raise ScanError(f"--dns-zone: {error}") from error
    actors = [build_actor(name, config, clock, resolver) for name in ACTOR_NAMES]
    try:
        for message in messages:
            findings = await examine_all(actors, message, clock, timeout_s)
            yield decide(findings, message, config, expected=ACTOR_NAMES)
    finally:
        for actor in actors:
            await actor.close()


async def _scan_there(messages: list[Message], address: str, timeout_s: float) -> AsyncIterator[Verdict]:
    import grpc

    from cluster.codec import message_to_proto, verdict_from_proto
    from tamis.filter.v1.filter_service_pb2 import ScanRequest
    from tamis.filter.v1.filter_service_pb2_grpc import FilterServiceStub
    from wire.stream import CHANNEL_OPTIONS

    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub = FilterServiceStub(channel)
        for message in messages:
            try:
                response = await stub.Scan(ScanRequest(message=message_to_proto(message)), timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise ConnectionError(f"{address}: {error.code().name}: {error.details()}") from error
            yield verdict_from_proto(response.verdict)


async def _show(files: list[Path], verdicts: AsyncIterator[Verdict], *, as_json: bool) -> None:
    remaining = iter(files)
    async for verdict in verdicts:
        row = verdict_as_json(str(next(remaining)), verdict)
        print(json.dumps(row) if as_json else _as_text(row), flush=True)


def verdict_as_json(file: str, verdict: Verdict) -> dict[str, Any]:
    """The documented object of `tamis scan --json`; bytes become text with replacement characters."""
    return {
        "file": file,
        "action": str(verdict.action),
        "score": round(verdict.score, 3),
        "reply": asdict(verdict.reply) if verdict.reply else None,
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
            {"edit": type(edit).__name__, **{key: _text(value) for key, value in asdict(edit).items()}}
            for edit in verdict.edits
        ],
    }


def _text(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


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
