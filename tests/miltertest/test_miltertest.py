"""Debian's `miltertest` as the MTA: its own code for the protocol, and what it understands of our answers.

Strategy: the gateway's process, an ingress over gRPC whose answer is named by sender and recipient, and scripts in Lua
that end with an error at the first surprise. miltertest cannot see the text of a reply before the end of the message;
that is left to real Postfix. Sendmail itself is not run: Debian's package conflicts with postfix, and miltertest speaks
libmilter's side of Sendmail's protocol, constants included.
"""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import verdict_pb2 as pb
from tests.conftest import skip_or_fail
from tests.gateway.fake_ingress import FakeIngress, Heard, Judge, let_in, serve, verdict
from tests.gateway.test_live import Gateway, gateway

pytestmark = pytest.mark.live

SCRIPTS = Path(__file__).parent
EDITS = (
    pb.Edit(add_header=pb.AddHeader(name=b"X-Spam-Score", value=b"7")),
    pb.Edit(
        insert_header=pb.InsertHeader(index=0, name=b"Authentication-Results", value=b"mx.recipient.example; none")
    ),
    pb.Edit(change_header=pb.ChangeHeader(name=b"Subject", occurrence=1, value=b"[spam] hello")),
    pb.Edit(delete_header=pb.DeleteHeader(name=b"X-Spam-Flag", occurrence=1)),
    pb.Edit(add_recipient=pb.AddRecipient(address=b"more@recipient.example")),
    pb.Edit(delete_recipient=b"reader@recipient.example"),
    pb.Edit(replace_body=b"replaced\r\n"),
)
BY_SENDER: dict[bytes, Judge] = {
    b"edits": verdict(pb.ACTION_ADD_HEADER, edits=EDITS),
    b"quarantine": verdict(pb.ACTION_QUARANTINE, quarantine_reason="looks odd"),
    b"reject": verdict(pb.ACTION_REJECT, reply=pb.Reply(code=554, enhanced="5.7.1", text="100% spam")),
    b"tempfail": verdict(pb.ACTION_TEMPFAIL, reply=pb.Reply(code=451, enhanced="4.7.1", text="Later")),
    b"discard": verdict(pb.ACTION_DISCARD),
}
BY_RECIPIENT = {
    b"rejected": (pb.ACTION_REJECT, pb.Reply(code=550, enhanced="5.1.1", text="No such user")),
    b"later": (pb.ACTION_TEMPFAIL, pb.Reply(code=451, enhanced="4.7.1", text="Greylisted")),
}


def judge(heard: Heard) -> filter_pb.Answer | None:
    return BY_SENDER.get(heard.sender.partition(b"@")[0], verdict())(heard)


def judge_recipient(heard: Heard) -> filter_pb.Answer:
    answer = let_in(heard)
    early = BY_RECIPIENT.get(heard.recipients[-1].partition(b"@")[0])
    if early is not None:
        answer.recipient_verdict.action, reply = early
        answer.recipient_verdict.reply.CopyFrom(reply)
    return answer


@pytest.fixture
def peer() -> str:
    """The command."""
    found = shutil.which("miltertest")
    if found is None:
        skip_or_fail("miltertest is not installed (tests/services/install)")
    return found


async def play(peer: str, script: str, run_dir: Path) -> tuple[FakeIngress, list[object]]:
    """Play a script to its end; what the ingress has heard, and why the gateway closed connections."""
    ingress = FakeIngress(judge, judge_recipient)
    server, target = await serve(ingress)
    whole = run_dir / script
    whole.write_text((SCRIPTS / "helpers.lua").read_text() + (SCRIPTS / script).read_text())
    try:
        with gateway(run_dir, target) as running:
            command = [peer, "-vv", "-D", f"socket={running.milter[0]}", "-s", str(whole)]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr + done.stdout[-2000:]
            await _settled(ingress)
            return ingress, _broken(running)
    finally:
        await server.stop(None)


async def _settled(ingress: FakeIngress) -> None:
    async with asyncio.timeout(5):
        while ingress.open:  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.01)


def _broken(running: Gateway) -> list[object]:
    return [line["why"] for line in running.lines("session_closed") if line["reason"] == "protocol_error"]


async def test_every_version_is_negotiated_and_carries_a_message(peer: str, run_dir: Path) -> None:
    ingress, broken = await play(peer, "negotiate.lua", run_dir)
    assert len(ingress.judged) == 6
    blocks = [heard.headers.header_block for heard in ingress.judged if heard.headers]
    assert blocks == [b"From: anna@shop.example\r\nSubject: hello\r\n"] * 5 + [b"Subject: hello\r\n"]
    assert (ingress.faults, broken) == ([], [])


async def test_every_edit_is_understood(peer: str, run_dir: Path) -> None:
    ingress, broken = await play(peer, "edits.lua", run_dir)
    assert len(ingress.judged) == 2
    assert broken == []


async def test_refusals_are_understood(peer: str, run_dir: Path) -> None:
    ingress, broken = await play(peer, "refusals.lua", run_dir)
    assert ingress.judged[0].recipients == [
        b"rejected@recipient.example",
        b"later@recipient.example",
        b"reader@recipient.example",
    ]
    assert ingress.judged[0].end is not None
    assert list(ingress.judged[0].end.refused_recipients) == [0, 1]
    assert broken == []


async def test_several_messages_share_nothing_but_the_client(peer: str, run_dir: Path) -> None:
    ingress, broken = await play(peer, "several.lua", run_dir)
    first, second = ingress.judged
    assert (first.begin.mta_name, first.begin.daemon_name) == ("mx.recipient.example", "smtpd")
    assert (first.begin.client.auth_user, first.begin.client.auth_type) == (b"anna", "PLAIN")
    assert (second.begin.client.ip, second.begin.client.auth_user) == ("192.0.2.7", b"")
    assert (first.sender, second.sender) == (b"first@shop.example", b"second@shop.example")
    assert first.end is not None
    assert second.end is not None
    assert (first.end.queue_id, second.end.queue_id) == ("4first", "4second")
    assert first.body == b"hello\r\n"
    assert second.body.startswith(b"hello\r\n")
    assert len(second.body) >= 200_000
    assert len(ingress.aborted) == 4
    assert (ingress.faults, broken) == ([], [])


async def test_disorder_costs_one_connection_each(peer: str, run_dir: Path) -> None:
    ingress, broken = await play(peer, "disorder.lua", run_dir)
    assert [heard.sender for heard in ingress.judged] == [b"after@shop.example"]
    assert broken == [
        "OPTNEG before the client's connection",
        "OPTNEG: version 1 is older than 2",
        "RCPT in the body",
    ]
