"""`tamis send`: plays the MTA against any milter address and shows verdict and edits of each mail file.

Needs no more than the gateway extra on the mail host. Exit codes: 0 every message got an answer, and the expected one;
1 some did not; 2 it was asked for something impossible.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn

from cli import send_options as opt
from cli.edits import Mail
from cli.mta import MtaOutcome, deliver_in_turn
from cli.mta_stages import BODY_CHUNK_BYTES
from cli.send_expect import Expectation, differences, expectation
from cli.send_report import View
from wire.milter import AddressError, parse_listen

File = tuple[Path, Mail]
Play = Callable[[Sequence[Mail]], Coroutine[None, None, list[MtaOutcome]]]


def send(  # noqa: PLR0913, PLR0917 - the options of a command
    files: opt.Files,
    to: opt.To = "inet:11332@127.0.0.1",
    sender: opt.Sender = None,
    recipient: opt.Recipients = None,
    mail_arg: opt.MailArgs = None,
    rcpt_arg: opt.RecipientArgs = None,
    header: opt.Headers = None,
    client_ip: opt.ClientIp = "192.0.2.1",
    client_name: opt.ClientName = "",
    client_port: opt.ClientPort = 54321,
    family: opt.FamilyOption = None,
    helo: opt.Helo = "mail.example.com",
    auth_name: opt.AuthName = "",
    auth_type: opt.AuthType = "",
    auth_author: opt.AuthAuthor = "",
    tls: opt.Tls = "",
    macro: opt.MacroOption = None,
    unknown: opt.UnknownCommands = None,
    data: opt.DataOption = True,  # noqa: FBT002
    chunk_bytes: opt.ChunkBytes = BODY_CHUNK_BYTES,
    milter_version: opt.MilterVersion = 6,
    decline: opt.Decline = None,
    timeout: opt.TimeoutOption = None,
    concurrency: opt.Concurrency = 1,
    per_connection: opt.PerConnection = 1,
    repeat: opt.Repeat = 1,
    show: opt.ShowOption = None,
    diff: opt.Diff = False,  # noqa: FBT002
    json_lines: opt.JsonLines = False,  # noqa: FBT002
    expect: opt.Expect = None,
    expect_edit: opt.ExpectEdit = None,
    expect_file: opt.ExpectFile = None,
) -> None:
    """Play the MTA: send mail files to a milter, show verdict and edits.

    Exits 0 when every message got an answer, and the expected one; 1 when some did not; 2 when it was asked for
    something impossible.
    """
    try:
        parse_listen(to)
        mails = [(path, opt.read_mail(path, sender, recipient, header)) for path in files]
        macros = opt.read_macros(macro, (auth_name, auth_type, auth_author), tls)
        offered = opt.offer(milter_version, decline)
        manner = opt.manner(offered, macros, mail_arg, rcpt_arg, unknown, data, chunk_bytes)
        client = opt.client(client_ip, client_name, client_port, family, helo)
        play = partial(deliver_in_turn, to, client=client, manner=manner, timeouts=opt.timeouts(timeout))
        expected = expectation(expect, expect_edit, expect_file)
    except (AddressError, opt.UsageError) as error:
        _refuse(str(error))
    view = View.chosen(show or (), diff=diff, json_lines=json_lines)
    batches = _batches(mails * repeat, per_connection)
    if asyncio.run(_send_all(batches, play, concurrency, view, expected)):
        sys.exit(1)


def _refuse(text: str) -> NoReturn:
    print(f"tamis send: {text}", file=sys.stderr)
    sys.exit(2)


def _batches(files: Sequence[File], size: int) -> Iterator[Sequence[File]]:
    return (files[start : start + size] for start in range(0, len(files), size))


async def _send_all(
    batches: Iterator[Sequence[File]], play: Play, concurrency: int, view: View, expected: Expectation
) -> int:
    """Send and tell in the order of the files; how many got no answer or another than the expected one."""
    if head := view.head():
        print(head)
    under_way: deque[tuple[Sequence[File], asyncio.Task[list[MtaOutcome]]]] = deque()
    failed = 0
    async with asyncio.TaskGroup() as group:
        while True:
            for batch in islice(batches, concurrency - len(under_way)):
                under_way.append((batch, group.create_task(play([mail for _, mail in batch]))))
            if not under_way:
                return failed
            batch, task = under_way.popleft()
            for (path, mail), outcome in zip(batch, await task, strict=True):
                failed += _tell(path, mail, outcome, view, expected)


def _tell(path: Path, mail: Mail, outcome: MtaOutcome, view: View, expected: Expectation) -> bool:
    """Print one message; whether it failed."""
    print(view.tell(path, mail, outcome), flush=True)
    wrong = differences(outcome, expected)
    for line in wrong:
        print(f"tamis send: {path}: {line}", file=sys.stderr, flush=True)
    return bool(wrong or outcome.error)
