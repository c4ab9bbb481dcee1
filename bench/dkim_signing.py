"""CPU of signing one message: `python -m bench.dkim_signing [--body-bytes 4096] [--rounds 40] [--json]`.

    sign_ms.*             canonicalisation, hashing and signature in this process, of a message not hashed yet
    openssl_ms.*          the signature alone
    opendkim_milter_ms    what Debian's opendkim takes for a message with the same key and body, its whole milter: from
                          connect to the inserted field. Absent when it is not installed

Ours are the median of the rounds' best third, since a shared machine adds and never takes; opendkim's is the best of
some rounds of MILTER_MAILS messages in one process.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.dkim.canonical import BodyHashes
from actors.dkim.signing.options import SigningOptions
from actors.dkim.signing.private_key import PrivateKey, generate_ed25519, generate_rsa
from actors.dkim.signing.sign import Signer, sign
from actors.model import Message
from bench.figures import show
from bench.peers.processes import Missing, Server, program
from bench.process_tree import tree_usage
from cli.edits import Mail
from cli.mail_file import prepare
from cli.mta import deliver_in_turn
from cli.mta_stages import Client, Manner

HEADERS = (
    b"Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n"
    b"\tby mx.example.net; Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    b"From: Alice Example <alice@example.org>\r\nTo: Bob <bob@example.net>, Carol <carol@example.net>\r\n"
    b"Subject: Minutes of the meeting\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
)
LINE = b"The committee met at ten and  agreed upon what had been agreed upon before. \r\n"
CALLS = 20
"""A round, since the clock of a process is coarse."""
MILTER_MAILS = 200
MILTER_ROUNDS = 3
_OPENDKIM = """
Mode s
Domain example.org
Selector selector
KeyFile {directory}/private
Canonicalization relaxed/relaxed
Socket local:{directory}/s
Background no
AutoRestart no
Syslog no
PidFile {directory}/pid
UserID root
RequireSafeKeys no
"""


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--body-bytes", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    body = (LINE * (options.body_bytes // len(LINE) + 1))[: options.body_bytes - 2] + b"\r\n"
    keys = {"rsa_2048": generate_rsa(2048), "ed25519": generate_ed25519()}
    figures = {}
    for name, key in keys.items():
        figures[f"sign_ms.{name}"] = cost_ms(lambda key=key: sign_once(key, body), options.rounds)
        figures[f"openssl_ms.{name}"] = cost_ms(lambda key=key: key.sign(b"d" * 32), options.rounds)
    with contextlib.suppress(Missing):
        figures["opendkim_milter_ms"] = opendkim_ms(keys["rsa_2048"], body)
    show(figures, as_json=options.json)


def sign_once(key: PrivateKey, body: bytes) -> None:
    """What the cell does for one message."""
    message = Message(header_block=HEADERS, body=body)
    signer = Signer("example.org", "selector", key, "@example.org")
    sign(message.fields_by_name, BodyHashes(body), [signer], SigningOptions(), 1_767_225_600.0)


def cost_ms(work: Callable[[], object], rounds: int) -> float:
    """CPU milliseconds of one call."""
    costs = sorted(_round_s(work) for _ in range(rounds))
    best = costs[: max(1, rounds // 3)]
    return round(best[len(best) // 2] / CALLS * 1000, 3)


def _round_s(work: Callable[[], object]) -> float:
    started_s = time.process_time()
    for _ in range(CALLS):
        work()
    return time.process_time() - started_s


def opendkim_ms(key: PrivateKey, body: bytes) -> float:
    """CPU milliseconds of opendkim a message. Raises Missing, and AssertionError when it does not sign."""
    path = program("opendkim")
    with tempfile.TemporaryDirectory(prefix="tamis-opendkim-", dir="/tmp") as name:
        directory = Path(name)
        (directory / "private").write_bytes(key.pem())
        (directory / "private").chmod(0o600)
        (directory / "conf").write_text(_OPENDKIM.format(directory=directory))
        server = Server("opendkim", [path, "-f", "-x", str(directory / "conf")], directory)
        try:
            socket = directory / "s"
            server.wait_until(socket.exists, "it listens")
            mail = prepare(HEADERS + b"\r\n" + body, b"alice@example.org", [b"bob@example.net"]).as_mail()
            mails = [mail] * MILTER_MAILS
            return round(min(_milter_ms(f"unix:{socket}", server.pid, mails) for _ in range(MILTER_ROUNDS)), 3)
        finally:
            server.stop()


def _milter_ms(to: str, pid: int, mails: Sequence[Mail]) -> float:
    before = tree_usage([pid])
    outcomes = asyncio.run(deliver_in_turn(to, mails, Client(hostname=b"localhost"), Manner()))
    signed = [outcome for outcome in outcomes if outcome.added(b"DKIM-Signature")]
    assert len(signed) == len(mails), outcomes[0]
    return tree_usage([pid]).since(before).cpu_s / len(mails) * 1000


if __name__ == "__main__":
    main()
