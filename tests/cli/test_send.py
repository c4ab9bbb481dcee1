"""`tamis send`: exit codes, table and JSON."""

import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import cli.send as command
from cli.edits import Mail
from cli.mta import MtaOutcome, Step, Timeouts
from cli.mta_stages import Client, Manner
from wire.milter import constants as c
from wire.milter import events as ev

ACCEPTED = MtaOutcome(
    "accept",
    edits=(ev.AddHeader(b"X-Spam-Score", b" 3.5"), ev.InsertHeader(0, b"A", b"\xff")),
    end_of_message_s=0.0123,
    mail=Mail(b"back@example.com", (b"recipient@example.org",), ((b"Subject", b" 0.eml"), (b"A", b" 1")), b"x\r\n"),
    steps=(Step("BODYEOB", (ev.AddHeader(b"X-Spam-Score", b" 3.5"), ev.Accept()), 0.0123),),
)
REJECTED = MtaOutcome("reject", b"550-5.7.1 a\r\n550 5.7.1 b")
FAILED = MtaOutcome(error="inet:1@127.0.0.1: connection refused")


@dataclass
class Call:
    """One connection."""

    to: str
    mails: list[Mail]
    client: Client
    manner: Manner
    timeouts: Timeouts


class FakeMilter:
    """Takes the place of `deliver_in_turn`; the last outcome is given again and again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *outcomes: MtaOutcome) -> None:
        self.calls: list[Call] = []
        self.most_at_once = 0
        self._at_once = 0
        self._outcomes = list(outcomes)
        monkeypatch.setattr(command, "deliver_in_turn", self.deliver)

    async def deliver(
        self, to: str, mails: list[Mail], *, client: Client, manner: Manner, timeouts: Timeouts
    ) -> list[MtaOutcome]:
        self.calls.append(Call(to, mails, client, manner, timeouts))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        outcomes = [self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0] for _ in mails]
        await asyncio.sleep(0)
        self._at_once -= 1
        return outcomes


def sent(*arguments: object, **options: object) -> int:
    """Run the command; its exit code."""
    try:
        command.send(*arguments, **options)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def mails(tmp_path: Path, count: int = 1) -> list[Path]:
    paths = [tmp_path / f"{number}.eml" for number in range(count)]
    for path in paths:
        path.write_bytes(b"Return-Path: <back@example.com>\nSubject: %b\n\nx\n" % path.name.encode())
    return paths


def test_a_table_row_for_each_file_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, ACCEPTED, REJECTED)
    command.send(mails(tmp_path, 2), concurrency=2)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "action", "score", "edits", "ms", "reply"]
    assert first.split()[1:] == ["accept", "3.5", "2", "12.3"]
    assert second.split(maxsplit=4)[1:] == ["reject", "0", "0.0", "550-5.7.1 a / 550 5.7.1 b"]


def test_json_is_one_object_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, ACCEPTED)
    (path,) = mails(tmp_path)
    command.send([path], json_lines=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "file": str(path),
        "action": "accept",
        "score": 3.5,
        "reply": "",
        "edits": [
            {"edit": "AddHeader", "name": "X-Spam-Score", "value": " 3.5"},
            {"edit": "InsertHeader", "index": 0, "name": "A", "value": "\\xff"},
        ],
        "rejected_recipients": [],
        "ms": 12.3,
        "stages": [{"command": "BODYEOB", "ms": 12.3, "replies": ["AddHeader X-Spam-Score: 3.5", "Accept"]}],
        "error": "",
    }


def test_one_message_without_an_answer_is_exit_1_and_the_others_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, FAILED, ACCEPTED)
    assert sent(mails(tmp_path, 2)) == 1
    _, first, second = capsys.readouterr().out.splitlines()
    assert "error" in first
    assert "connection refused" in first
    assert "accept" in second


def test_the_envelope_comes_from_the_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    milter = FakeMilter(monkeypatch, ACCEPTED)
    command.send(
        mails(tmp_path),
        to="unix:/run/m.sock",
        sender="<s@example.com>",
        recipient=["a@example.org", "<b@example.org>"],
        client_ip="2001:db8::1",
        helo="h.example",
        macro=["auth_authen=a=b"],
    )
    (call,) = milter.calls
    (mail,) = call.mails
    assert call.to == "unix:/run/m.sock"
    assert (mail.sender, mail.recipients) == (b"s@example.com", (b"a@example.org", b"b@example.org"))
    assert (call.client.ip, call.client.helo) == ("2001:db8::1", b"h.example")
    assert call.manner.macros == {b"auth_authen": b"a=b"}


def test_the_sender_is_the_return_path_unless_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    milter = FakeMilter(monkeypatch, ACCEPTED)
    command.send(mails(tmp_path))
    command.send(mails(tmp_path), sender="")
    assert [call.mails[0].sender for call in milter.calls] == [b"back@example.com", b""]


def test_options_become_client_manner_and_timeouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    milter = FakeMilter(monkeypatch, ACCEPTED)
    command.send(
        mails(tmp_path),
        client_ip="/run/smtp",
        client_name="host.example",
        client_port=25,
        family=command.opt.Family.UNIX,
        auth_name="alice",
        auth_type="PLAIN",
        tls="TLSv1.3:TLS_AES_256_GCM_SHA384:256",
        macro=["weather=rain", "rcpt:rcpt_host=mx=1", "eom:i=4X"],
        mail_arg=["SMTPUTF8", "BODY=8BITMIME"],
        rcpt_arg=["NOTIFY=NEVER"],
        header=["X-Test: yes"],
        unknown=["XFOO 1"],
        data=False,
        chunk_bytes=100,
        milter_version=4,
        decline=["SMFIF_ADDHDRS", "nodata"],
        timeout=["connect=1", "reading=2", "writing=3", "end-of-message=4.5"],
    )
    (call,) = milter.calls
    assert call.client == Client("/run/smtp", b"host.example", 25, c.SMFIA_UNIX, b"mail.example.com")
    assert call.manner == Manner(
        offer=ev.Negotiate(4, 0x3E, 0xFF | c.SMFIP_NOUNKNOWN),
        mail_args=(b"SMTPUTF8", b"BODY=8BITMIME"),
        recipient_args=(b"NOTIFY=NEVER",),
        unknown=(b"XFOO 1",),
        says_data=False,
        chunk_bytes=100,
        macros={
            b"auth_authen": b"alice",
            b"auth_type": b"PLAIN",
            b"tls_version": b"TLSv1.3",
            b"cipher": b"TLS_AES_256_GCM_SHA384",
            b"cipher_bits": b"256",
            b"weather": b"rain",
        },
        stage_macros={c.SMFIC_RCPT: {b"rcpt_host": b"mx=1"}, c.SMFIC_BODYEOB: {b"i": b"4X"}},
    )
    assert call.timeouts == Timeouts(1, 2, 3, 4.5)
    assert call.mails[0].fields[-1] == (b"X-Test", b" yes")


def test_messages_are_repeated_shared_out_on_connections_and_bounded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    milter = FakeMilter(monkeypatch, ACCEPTED)
    command.send(mails(tmp_path, 2), repeat=5, per_connection=3, concurrency=2)
    assert [len(call.mails) for call in milter.calls] == [3, 3, 3, 1]
    assert milter.most_at_once == 2
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0][-5:] for row in rows] == ["0.eml", "1.eml"] * 5


def test_every_reply_is_shown_with_its_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    negotiated = ev.Negotiated(6, c.SMFIF_ADDHDRS, c.SMFIP_SKIP | 1 << 30)
    steps = (
        Step("OPTNEG", (negotiated,), 0.001),
        Step("RCPT", (ev.ReplyCode(b"550-5.1.1 no\r\n550 5.1.1 way"),), 0.0021),
        Step("BODYEOB", (ev.ReplaceBody(b"abc"), ev.Quarantine(b"odd"), ev.Accept()), 0.003),
    )
    FakeMilter(monkeypatch, MtaOutcome("accept", steps=steps))
    command.send(mails(tmp_path), show=[command.opt.Show.REPLIES])
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["OPTNEG", "1.0", "ms", "version", "6", "·", "actions", "ADDHDRS", "·", "steps", "SKIP", "0x40000000"],
        ["RCPT", "2.1", "ms", "ReplyCode", "550-5.1.1", "no", "/", "550", "5.1.1", "way"],
        ["BODYEOB", "3.0", "ms", "Accept"],
        ["ReplaceBody", "3", "bytes"],
        ["Quarantine", "odd"],
    ]


def test_the_message_and_the_difference_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, ACCEPTED)
    command.send(mails(tmp_path), diff=True, show=[command.opt.Show.MESSAGE])
    out = capsys.readouterr().out
    assert out.endswith("Subject: 0.eml\nA: 1\n\nx\n\n")
    assert "\n-Return-Path: <back@example.com>\n" in out
    assert "\n+A: 1\n" in out
    assert "\x1b" not in out


def test_nothing_changed_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = mails(tmp_path)
    mail = command.opt.read_mail(path, None, None, None)
    FakeMilter(monkeypatch, replace(ACCEPTED, mail=mail))
    command.send([path], diff=True)
    assert capsys.readouterr().out.endswith("\n(no change)\n")


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colour_is_for_a_terminal_without_no_color(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,  # noqa: FBT001
    no_color: str,
    coloured: bool,  # noqa: FBT001
) -> None:
    FakeMilter(monkeypatch, ACCEPTED)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    command.send(mails(tmp_path), diff=True)
    assert ("\x1b[32m+A: 1\x1b[0m" in capsys.readouterr().out) == coloured


def test_a_met_expectation_is_exit_0_and_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, ACCEPTED)
    assert sent(mails(tmp_path), expect=["accept"], expect_edit=["AddHeader x-spam-score: 3.5"]) == 0
    assert capsys.readouterr().err == ""


def test_an_unmet_expectation_is_exit_1_with_a_line_that_says_what_differed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, ACCEPTED, REJECTED)
    paths = mails(tmp_path, 2)
    assert sent(paths, expect=["accept"]) == 1
    wrong = f"tamis send: {paths[1]}: expected accept, got reject 550-5.7.1 a / 550 5.7.1 b\n"
    assert capsys.readouterr().err == wrong


def test_what_json_printed_may_be_expected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, ACCEPTED, ACCEPTED, REJECTED)
    recorded = tmp_path / "expected.json"
    command.send(mails(tmp_path), json_lines=True)
    recorded.write_text(capsys.readouterr().out)
    assert sent(mails(tmp_path), expect_file=recorded) == 0
    assert sent(mails(tmp_path), expect_file=recorded) == 1
    assert "expected edits AddHeader X-Spam-Score: '3.5', InsertHeader 0 A:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "options", "reason"),
    [
        (["missing.eml"], {}, "No such file"),
        (["."], {}, "directory"),
        (["0.eml"], {"to": "nonsense"}, "write inet:PORT@HOST"),
        (["0.eml"], {"macro": ["novalue"]}, "write NAME=VALUE"),
        (["0.eml"], {"macro": ["late:a=b"]}, "no stage 'late'"),
        (["0.eml"], {"header": ["no colon"]}, "write NAME: VALUE"),
        (["0.eml"], {"decline": ["nothing"]}, "there are ADDHDRS"),
        (["0.eml"], {"timeout": ["sleep=1"]}, "PHASE of connect"),
        (["0.eml"], {"timeout": ["connect=0"]}, "more than 0"),
        (["0.eml"], {"timeout": ["connect=nan"]}, "more than 0"),
        (["0.eml"], {"expect": ["great"]}, "there are accept"),
        (["0.eml"], {"expect_edit": ["Rewrite x"]}, "begin with AddHeader"),
        (["0.eml"], {"expect_file": Path("missing.json")}, "No such file"),
    ],
)
def test_what_cannot_be_done_is_exit_2_and_one_line(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: list[str],
    options: dict[str, object],
    reason: str,
) -> None:
    milter = FakeMilter(monkeypatch, ACCEPTED)
    mails(tmp_path)
    assert sent([tmp_path / name for name in files], **options) == 2
    printed = capsys.readouterr()
    assert reason in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert milter.calls == []
