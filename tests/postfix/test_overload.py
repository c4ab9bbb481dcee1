"""A gateway that has all the sessions it may have, as Postfix and its clients see it."""

import shutil
import smtplib
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from bench.postfix import Postfix, why_not
from tests.conftest import skip_or_fail
from tests.gateway.test_live import Gateway, gateway
from wire.milter import TcpAddress, parse_listen

pytestmark = pytest.mark.postfix

RAW = b"From: ben@friends.example\r\nX-Tamis-Unfiltered: forged\r\nSubject: hello\r\n\r\nhello\r\n"


@contextmanager
def full(action: str) -> Iterator[tuple[Gateway, Postfix]]:
    """Somebody has all sessions. There is no cluster: nobody would be asked anyway."""
    if why_not():
        skip_or_fail(why_not())
    directory = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
    # Room above the bound for what Postfix opens at its start.
    settings = f'sessions_max = 16\n[gateway.on_failure]\noverloaded = "{action}"\n'
    try:
        with gateway(directory, "127.0.0.1:1", settings=settings) as process:
            address = parse_listen(process.milter[0])
            assert isinstance(address, TcpAddress)
            held = [socket.create_connection((address.host, address.port)) for _ in range(16)]
            with Postfix(process.milter[0]) as postfix:
                yield process, postfix
            for connection in held:
                connection.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_the_client_hears_451_at_mail_and_the_queue_stays_at_the_sender() -> None:
    with full("tempfail") as (process, postfix):
        client = smtplib.SMTP("127.0.0.1", postfix.port)
        client.ehlo("client.example")
        assert client.mail("ben@friends.example") == (
            451,
            b"4.7.1 Mail filter is not available, please try again later",
        )
        client.quit()
        assert process.lines("refused_early")[-1]["failure"] == "overloaded"


def test_accepted_mail_carries_our_mark_first_and_no_forged_one_counts() -> None:
    with full("accept") as (_, postfix):
        assert postfix.send(RAW)[0] == 250
        (raw,) = postfix.delivered(1)
        marks = message_from_bytes(raw).get_all("X-Tamis-Unfiltered", [])
        assert marks[0] == "overloaded"


def test_reject_is_the_greeting() -> None:
    with full("reject") as (_, postfix):
        client = smtplib.SMTP()
        assert client.connect("127.0.0.1", postfix.port)[0] == 554
        client.close()
