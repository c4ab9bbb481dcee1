"""`tamis dkim sign`, `verify` and `explain`: mail files, without MTA and cell."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from actors.actor import Budget
from actors.adapters.clock import SystemClock
from actors.adapters.dkim_sources import SigningSources
from actors.dkim.actor import DkimActor
from actors.dkim.canonical import BodyHashes
from actors.dkim.diagnosis import Diagnosis
from actors.dkim.signing import sign as signing
from actors.dkim.signing.author import AuthorError, author_of
from actors.dkim.signing.config import SigningConfig
from actors.dkim.signing.decision import Decision, Disposition, decide_signing
from actors.dkim.signing.private_key import PrivateKeyError
from actors.dkim.signing.tables import SigningRequest
from actors.model import Client, Envelope, Finding, Message, Outcome, Recipient, Stage
from cli.config import load_config
from cli.dkim_diagnosis import diagnosis_lines, diagnosis_of
from cli.dkim_setup import (
    ConfigOption,
    JsonOption,
    KeyOption,
    NamedKey,
    NowOption,
    UsageError,
    ZoneOption,
    loaded,
    open_resolver,
    requests_of_options,
    run,
    signing_sources,
)
from cli.mail_file import MailFile, prepare
from cli.moment import moment, received_at_s

_STDIN = Path("-")
_BUDGET_S = 30.0

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Mail file; - is standard input.")]


def sign(  # noqa: PLR0913  the options of the command
    file: FileArgument = _STDIN,
    *,
    key: KeyOption = None,
    config: ConfigOption = None,
    identity: Annotated[str, typer.Option(help="i= of signatures with --key.")] = "",
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the mail with its signatures on top: with --key, or with the keys that the tables have for its author.

    Who sends it is not looked at, as `explain` does. Exits 1 when the mail cannot be signed or no key is for it, 2 for
    wrong options.
    """

    async def work() -> bool:
        mail = _read(file)
        message = _message(mail)
        whole = load_config(config)
        settings = whole.dkim.signing
        async with signing_sources(whole) as sources:
            if key:
                requests = requests_of_options(key)
            elif settings.signing_table:
                requests = await _requests_for(message, settings, sources)
            else:
                raise UsageError("no key: say --key, or --config with [dkim.signing] signing_table")
            keys = await loaded(requests, sources)
        signers = [
            signing.Signer(one.request.domain, one.request.selector, one.usable(), identity or one.request.identity)
            for one in keys
        ]
        at_s = moment(now)
        now_s = received_at_s(mail) if at_s is None else at_s
        values = signing.sign(message.fields_by_name, BodyHashes(message.body), signers, settings.options(), now_s)
        fields = [b"%b:%b\r\n" % (signing.FIELD_NAME, value) for value in values]
        if as_json:
            for signer, field in zip(signers, fields, strict=True):
                told = {"domain": signer.domain, "selector": signer.selector, "algorithm": signer.key.algorithm}
                print(json.dumps(told | {"field": field.decode()}))
        else:
            sys.stdout.buffer.write(b"".join(fields) + message.raw)
            sys.stdout.buffer.flush()
        return True

    run("sign", work())


def verify(  # noqa: PLR0913  the options of the command
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Mail files; - is standard input.")],
    *,
    config: ConfigOption = None,
    dns_zone: ZoneOption = None,
    original: Annotated[
        Path | None, typer.Option(help="The mail as it was sent: say where one whose signature fails differs from it.")
    ] = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the DKIM signatures and the ARC chain of mail files, and say what broke the signatures that fail.

    Exits 0 when every file has a DKIM signature that passes, 1 when one has none, 2 for wrong options.
    """

    async def work() -> bool:
        settings, at_s, clock = load_config(config), moment(now), SystemClock()
        resolver = open_resolver(settings, dns_zone)
        actor = DkimActor(settings.dkim, resolver, clock)
        sent = None if original is None else _message(_read(original))
        fine = True
        try:
            for file in files:
                mail = _read(file)
                envelope = Envelope(received_at_s=received_at_s(mail) if at_s is None else at_s)
                message = Message(envelope, mail.header_block, mail.body)
                findings = await actor.examine(Stage.MESSAGE, message, Budget.lasting(clock, _BUDGET_S))
                passed = any(one.name == "dkim" and one.outcome is Outcome.PASS for one in findings)
                fine = fine and passed
                for finding in findings:
                    diagnosis = await diagnosis_of(finding, message, sent, resolver)
                    _show_finding(file, finding, diagnosis, as_json=as_json)
        finally:
            await actor.close()
        return fine

    run("verify", work())


def explain(  # noqa: PLR0913  the options of the command
    file: FileArgument = _STDIN,
    *,
    config: ConfigOption = None,
    client_ip: Annotated[str, typer.Option(help="IP address of the SMTP client.")] = "",
    client_name: Annotated[str, typer.Option(help="Its name, as the MTA has verified it.")] = "",
    auth_type: Annotated[str, typer.Option(help="How it authenticated (macro auth_type).")] = "",
    daemon_name: Annotated[str, typer.Option(help="Which of the MTA's daemons took it (macro daemon_name).")] = "",
    macro: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Macro; may be repeated.")] = None,
    recipient: Annotated[list[str] | None, typer.Option(help="Envelope recipient; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a mail is signed, verified or left alone, what each rule said, and which keys sign it.

    Exits 0 with a decision, 1 when it is to sign with a key that cannot be used, 2 for wrong options.
    """

    async def work() -> bool:
        mail = _read(file)
        client = Client(ip=client_ip, hostname=os.fsencode(client_name), auth_type=auth_type)
        to = tuple(Recipient(os.fsencode(address)) for address in recipient or ())
        envelope = Envelope(client=client, recipients=to, daemon_name=daemon_name, sender=mail.sender)
        message = Message(envelope, mail.header_block, mail.body)
        async with signing_sources(load_config(config)) as sources:
            rules = await sources.rules()
            decision = await decide_signing(message, _macros(macro or []), rules, sources.tables)
            keys = await loaded(decision.requests, sources)
        if as_json:
            print(json.dumps(_decision_as_json(decision, keys)))
        else:
            _show_decision(decision, keys)
        return not any(isinstance(one.key, PrivateKeyError) for one in keys)

    run("explain", work())


async def _requests_for(message: Message, settings: SigningConfig, sources: SigningSources) -> list[SigningRequest]:
    """What the tables ask for. Raises TableError and SigningError."""
    try:
        author = author_of(message.fields_by_name, settings.sender_headers)
    except AuthorError as error:
        raise signing.SigningError(str(error)) from error
    requests = list(await sources.tables.requests(author))
    if not requests:
        raise signing.SigningError("the SigningTable has no key for the author")
    return requests


def _read(file: Path) -> MailFile:
    """Raises OSError."""
    return prepare(sys.stdin.buffer.read() if file == _STDIN else file.read_bytes())


def _macros(words: list[str]) -> Mapping[str, str]:
    """Raises UsageError."""
    macros = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--macro {word}: not NAME=VALUE")
        macros[name.strip("{}")] = value
    return macros


def _message(mail: MailFile) -> Message:
    return Message(header_block=mail.header_block, body=mail.body)


def _show_finding(file: Path, finding: Finding, diagnosis: Diagnosis | None, *, as_json: bool) -> None:
    if as_json:
        told = {"file": str(file), "check": finding.name, "result": finding.outcome, "reason": finding.detail}
        told |= {"facts": dict(finding.facts)} | ({"diagnosis": msgspec.to_builtins(diagnosis)} if diagnosis else {})
        print(json.dumps(told))
    else:
        facts = " ".join(f"{name}={value}" for name, value in finding.facts.items())
        print(f"{file}: {finding.name}={finding.outcome} ({finding.detail}) {facts}".rstrip())
        for line in diagnosis_lines(diagnosis) if diagnosis else ():
            print(f"    {line}")


def _show_decision(decision: Decision, keys: list[NamedKey]) -> None:
    for step in decision.steps:
        print(f"{'yes' if step.applies else 'no':<4} {step.rule}: {step.text}")
    print(f"=> {decision.disposition}")
    for one in keys:
        key, request = one.key, one.request
        what = f"cannot be used: {key}" if isinstance(key, PrivateKeyError) else f"{key.key_type}, {key.bits} bits"
        identity = f" i={request.identity}" if request.identity else ""
        print(f"   key {request.name}: d={request.domain} s={request.selector}{identity} ({what})")


def _decision_as_json(decision: Decision, keys: list[NamedKey]) -> dict[str, object]:
    return {
        "disposition": decision.disposition,
        "author": str(decision.author) if decision.author else "",
        "suspicious": decision.suspicious,
        "steps": [{"rule": step.rule, "applies": step.applies, "text": step.text} for step in decision.steps],
        "signatures": [
            {
                "key": one.request.name,
                "domain": one.request.domain,
                "selector": one.request.selector,
                "identity": one.request.identity,
                "algorithm": "" if isinstance(one.key, PrivateKeyError) else one.key.algorithm,
                "problem": str(one.key) if isinstance(one.key, PrivateKeyError) else "",
            }
            for one in keys
        ],
        "signs": decision.disposition is Disposition.SIGN,
    }
