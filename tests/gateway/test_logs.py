import ast
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.logs import JsonFormatter


def test_a_line_is_one_json_object_with_the_fields_of_the_event() -> None:
    record = logging.LogRecord("gateway.driver", logging.WARNING, "x.py", 1, "session_closed", None, None)
    record.fields = {"reason": "idle", "queue_id": "4\n\ufffd"}
    line = JsonFormatter().format(record)
    assert "\n" not in line
    data = json.loads(line)
    assert (data["level"], data["event"], data["reason"]) == ("warning", "session_closed", "idle")
    assert data["time"].endswith("Z")


def secret_number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise KeyError(text) from error


def test_an_exception_stays_on_the_line_with_kind_and_place_but_without_its_text() -> None:
    text = "mail " * 2
    try:
        try:
            secret_number(text)
        except KeyError as error:
            raise ExceptionGroup(text, [error, OSError(text)]) from None
    except ExceptionGroup:
        record = logging.LogRecord("gateway", logging.ERROR, "x.py", 1, "session_failed", None, sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)["exception"]
    for expected in ("ExceptionGroup", "KeyError", "ValueError", "OSError", "test_logs.py", "in secret_number"):
        assert expected in told
    assert "mail mail" not in line


GATEWAY = Path(__file__).resolve().parents[2] / "gateway"
LOGS_PAGE = GATEWAY.parent / "docs" / "logs.md"
LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error", "debug": "debug"}


def calls() -> Iterator[tuple[str, str, ast.expr]]:
    """Object, method and first argument of each call of a method in the gateway."""
    for path in sorted(GATEWAY.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                yield ast.unparse(node.func.value), node.func.attr, node.args[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    part = LOGS_PAGE.read_text().partition(heading)[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("| `")]


def test_every_event_is_on_the_page_with_its_levels_and_no_other() -> None:
    found: dict[str, set[str]] = {}
    for owner, method, word in calls():
        if owner == "log" and method in LEVELS:
            events = [node.value for node in ast.walk(word) if isinstance(node, ast.Constant)]
            assert events, "an event is one word, and what varies is a field"
            for event in events:
                found.setdefault(event, set()).add(LEVELS[method])
    page = {
        event.strip("`"): set(levels.split(", "))
        for events, levels, *_ in rows("# What the gateway logs")
        for event in events.split(", ")
    }
    assert page == found


def test_every_reason_to_close_a_session_is_on_the_page_and_no_other() -> None:
    found = {
        word.value
        for owner, method, word in calls()
        if method in ("close", "_report") and owner in ("self", "session") and isinstance(word, ast.Constant)
    }
    resumed = re.findall(r'"reason": "(\w+)"', (GATEWAY / "server.py").read_text())
    assert {reason.strip("`") for reason, _ in rows("## Why a session was closed")} == found | set(resumed)
