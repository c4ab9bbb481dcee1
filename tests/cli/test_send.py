"""`tamis send`: exit codes, table and JSON."""

import json
from pathlib import Path

import pytest

import cli.send as command
from cli.edits import Mail
from cli.mta import Client, MtaOutcome
from wire.milter import events as ev

ACCEPTED = MtaOutcome(
    "accept", edits=(ev.AddHeader(b"X-Spam-Score", b" 3.5"), ev.InsertHeader(0, b"A", b"\xff")), end_of_message_s=0.0123
)
REJECTED = MtaOutcome("reject", b"550-5.7.1 a\r\n550 5.7.1 b")
FAILED = MtaOutcome(error="inet:1@127.0.0.1: connection refused")


class FakeMilter:
    """Takes the place of `deliver`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *outcomes: MtaOutcome) -> None:
        self.calls: list[tuple[str, Mail, Client, dict[bytes, bytes]]] = []
        self._outcomes = list(outcomes)
        monkeypatch.setattr(command, "deliver", self.deliver)

    async def deliver(self, to: str, mail: Mail, *, client: Client, macros: dict[bytes, bytes]) -> MtaOutcome:
        self.calls.append((to, mail, client, macros))
        return self._outcomes[len(self.calls) - 1]


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
        "error": "",
    }


def test_one_message_without_an_answer_is_exit_1_and_the_others_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMilter(monkeypatch, FAILED, ACCEPTED)
    with pytest.raises(SystemExit) as stopped:
        command.send(mails(tmp_path, 2))
    assert stopped.value.code == 1
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
    ((to, mail, client, macros),) = milter.calls
    assert to == "unix:/run/m.sock"
    assert (mail.sender, mail.recipients) == (b"s@example.com", (b"a@example.org", b"b@example.org"))
    assert (client.ip, client.helo) == ("2001:db8::1", b"h.example")
    assert macros == {b"auth_authen": b"a=b"}


def test_the_sender_is_the_return_path_unless_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    milter = FakeMilter(monkeypatch, ACCEPTED, ACCEPTED)
    command.send(mails(tmp_path))
    command.send(mails(tmp_path), sender="")
    assert [mail.sender for _, mail, _, _ in milter.calls] == [b"back@example.com", b""]


@pytest.mark.parametrize(
    ("files", "options", "reason"),
    [
        (["missing.eml"], {}, "No such file"),
        (["."], {}, "directory"),
        (["0.eml"], {"to": "nonsense"}, "write inet:PORT@HOST"),
        (["0.eml"], {"macro": ["novalue"]}, "write NAME=VALUE"),
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
    milter = FakeMilter(monkeypatch)
    mails(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        command.send([tmp_path / name for name in files], **options)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert reason in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert milter.calls == []
