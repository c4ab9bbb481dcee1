import json
import logging
import sys

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
