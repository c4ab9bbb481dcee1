"""What `tamis send` expects, and how it says what differed."""

import json
from pathlib import Path

import pytest

from cli.mta import MtaOutcome
from cli.send_expect import Expectation, differences, expectation, parse_edit
from cli.send_options import UsageError
from wire.milter import events as ev

OUTCOME = MtaOutcome(
    "quarantine",
    edits=(
        ev.InsertHeader(0, b"Authentication-Results", b" mx;\n\tspf=pass"),
        ev.ChangeHeader(2, b"Subject", b" [SPAM] x"),
        ev.ChangeHeader(1, b"X-Old", b""),
        ev.AddRecipient(b"<y@example.org>"),
        ev.ChangeFrom(b"<z@example.org>", b"SIZE=1"),
        ev.Quarantine(b"odd"),
        ev.ReplaceBody(b"new"),
    ),
)


@pytest.mark.parametrize(
    "edit",
    [
        "InsertHeader 0 authentication-results: mx;\r\n\tspf=pass",
        "InsertHeader Authentication-Results",
        "ChangeHeader 2 Subject: [SPAM] x",
        "ChangeHeader X-Old:",
        "AddRecipient y@example.org",
        "ChangeFrom <z@example.org>",
        "Quarantine odd",
        "Quarantine",
        "ReplaceBody",
    ],
)
def test_an_edit_that_was_made_is_found(edit: str) -> None:
    assert differences(OUTCOME, Expectation(edits_among=(parse_edit(edit),))) == []


@pytest.mark.parametrize(
    "edit",
    [
        "AddHeader Authentication-Results",
        "InsertHeader 1 Authentication-Results",
        "ChangeHeader 1 Subject",
        "ChangeHeader Subject: other",
        "AddRecipient x@example.org",
        "Quarantine even",
        "DeleteRecipient",
    ],
)
def test_an_edit_that_was_not_made_is_named(edit: str) -> None:
    (line,) = differences(OUTCOME, Expectation(edits_among=(parse_edit(edit),)))
    assert line.startswith(f"expected edit {edit.split(maxsplit=1)[0]}")
    assert "got InsertHeader 0 Authentication-Results:" in line


@pytest.mark.parametrize("text", ["", "AddHeader", "AddHeader 1 X: y", "AddHeader a b", "addheader X: y", "Accept"])
def test_what_is_no_edit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--expect-edit"):
        parse_edit(text)


def test_any_of_several_actions_is_enough() -> None:
    assert differences(OUTCOME, Expectation(frozenset({"reject", "quarantine"}))) == []


def test_no_answer_is_never_the_expected_one() -> None:
    (line,) = differences(MtaOutcome(error="refused"), Expectation(frozenset({"reject"})))
    assert line == "expected reject, got no answer refused"


def test_the_edits_of_a_file_must_be_all_and_in_order(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    first = {"edit": "AddHeader", "name": "A", "value": "1"}
    second = {"edit": "AddHeader", "name": "B"}
    file.write_text(json.dumps({"edits": [first, second]}))
    expected = expectation(None, None, file)
    made = (ev.AddHeader(b"a", b" 1"), ev.AddHeader(b"B", b" any"))
    assert differences(MtaOutcome("accept", edits=made), expected) == []
    for other in (made[::-1], made[:1], (*made, made[0])):
        assert len(differences(MtaOutcome("accept", edits=other), expected)) == 1


def test_a_reply_of_a_file_must_come_again(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    file.write_text(json.dumps({"action": "reject", "reply": "550-5.7.1 a\r\n550 5.7.1 b"}))
    expected = expectation(None, None, file)
    assert differences(MtaOutcome("reject", b"550-5.7.1 a\r\n550 5.7.1 b"), expected) == []
    (line,) = differences(MtaOutcome("reject", b"550 5.7.1 c"), expected)
    assert "got '550 5.7.1 c'" in line


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"verdict": "accept"}',
        '{"action": "great"}',
        '{"reply": 5}',
        '{"edits": {}}',
        '{"edits": [{"edit": "Nothing"}]}',
        '{"edits": [{"edit": "AddHeader", "index": 1}]}',
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    file.write_text(text)
    with pytest.raises(UsageError, match="--expect-file"):
        expectation(None, None, file)
