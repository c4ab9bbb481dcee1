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


def test_an_exception_stays_on_the_line() -> None:
    try:
        int("broken")
    except ValueError:
        record = logging.LogRecord("gateway", logging.ERROR, "x.py", 1, "session_failed", None, sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: invalid literal" in json.loads(line)["exception"]
