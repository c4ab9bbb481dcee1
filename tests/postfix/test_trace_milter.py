"""`tamis-gateway --trace-milter` beside a real Postfix, and `tamis send` against it: two processes as shipped."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from bench.postfix import Postfix, why_not
from tests.conftest import skip_or_fail
from wire.milter import TcpAddress, parse_listen

TRACE = [sys.executable, "-m", "gateway", "--trace-milter", "--listen", "inet:0@127.0.0.1"]
RAW = b"From: ben@friends.example\r\nSubject: secret\r\nMessage-ID: <t@trace.example>\r\n\r\nprivate\r\n"


class Trace:
    """A running tracer."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.milter = json.loads(process.stdout.readline())["milter"]
        self._process = process

    def stop(self) -> list[dict[str, object]]:
        """All records."""
        self._process.terminate()
        out, _ = self._process.communicate(timeout=10)
        return [json.loads(line) for line in out.splitlines()]


@contextmanager
def tracing(*options: str) -> Iterator[Trace]:
    process = subprocess.Popen([*TRACE, "--json", *options], stdout=subprocess.PIPE, text=True)
    try:
        yield Trace(process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.postfix
def test_postfix_is_shown_and_its_mail_is_marked_as_unfiltered() -> None:
    if why_not():
        skip_or_fail(why_not())
    with tracing() as trace:
        with Postfix(trace.milter) as postfix:
            code, text = postfix.send(RAW, client_ip="192.0.2.25")
            assert code == 250, text
            (delivered,) = postfix.delivered(1)
        records = trace.stop()
    assert message_from_bytes(delivered)["X-Tamis-Unfiltered"] == "trace"
    of = {record["event"]: record for record in records}
    order = [str(record["event"]) for record in records]
    stages = ["OPTNEG", "CONNECT", "HELO", "MAIL", "RCPT", "DATA", "HEADER", "EOH", "BODY", "BODYEOB"]
    assert [order.index(stage) for stage in stages] == sorted(order.index(stage) for stage in stages)
    assert str(of["OPTNEG"]["offered"]).startswith("version 6 ")
    assert str(of["CONNECT"]["macros"]["v"]).startswith("Postfix ")  # type: ignore[index]
    # RFC 5321: the address of XCLIENT, as the MTA tells it.
    assert "192.0.2.25" in {record["address"] for record in records if record["event"] == "CONNECT"}
    assert of["RCPT"]["macros"]["{rcpt_addr}"] == "reader@recipient.example"  # type: ignore[index]
    assert of["BODYEOB"]["body_bytes"] == len(b"private\r\n")
    assert "secret" not in json.dumps(records)


@pytest.mark.live
@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--expect", "accept", "--expect-edit", "AddHeader X-Tamis-Unfiltered: trace"], 0),
        (["--expect", "reject"], 1),
        (["--expect", "tempfail", "--decline", "ADDHDRS"], 0),
        (["--milter-version", "2", "--per-connection", "3", "--repeat", "3", "--chunk-bytes", "2"], 0),
        (["--decline", "nonsense"], 2),
    ],
)
def test_send_and_trace_understand_each_other(options: list[str], code: int, tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(RAW)
    with tracing() as trace:
        command = [sys.executable, "-m", "cli", "send", "--to", trace.milter, *options, str(mail)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == code, done.stderr
        assert len(done.stderr.splitlines()) == (code != 0)


@pytest.mark.live
def test_sigterm_ends_it_with_a_connection_open() -> None:
    process = subprocess.Popen([*TRACE, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = parse_listen(Trace(process).milter)
    assert isinstance(address, TcpAddress)
    with socket.create_connection((address.host, address.port)):
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "OPEN"
        process.terminate()
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["event"] == "CLOSE"


@pytest.mark.live
@pytest.mark.parametrize("listen", ["nonsense", "inet:1@192.0.2.1"])
def test_an_address_that_cannot_be_listened_on_is_one_line_and_exit_code_2(listen: str) -> None:
    command = [sys.executable, "-m", "gateway", "--trace-milter", "--listen", listen]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
