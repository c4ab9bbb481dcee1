"""JSON logs on stderr, one object per line: time, level, event, and the fields of the event.

An event is a word ("session_closed"); what varies is in `extra={"fields": {...}}`. Never message content: of
an exception the line says kinds and places only.
"""

import logging
import sys
import time
import traceback

import msgspec


class JsonFormatter(logging.Formatter):
    """One JSON object per record."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._moment = ""

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        second = int(record.created)
        if second != self._second:
            # strftime asks the system for the time zone each time: once a second is enough.
            self._second, self._moment = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        line: dict[str, object] = {
            "time": f"{self._moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = places(record.exc_info[1])
        return msgspec.json.encode(line).decode()


def places(error: BaseException | None) -> str:
    """The kinds of an exception and of what led to it, and where; without their texts, which may hold mail."""
    if error is None:
        return ""
    parts = [f"{type(error).__qualname__}\n", *traceback.format_tb(error.__traceback__)]
    if isinstance(error, BaseExceptionGroup):
        parts += map(places, error.exceptions)
    earlier = error.__cause__ if error.__suppress_context__ else error.__context__
    return "".join(parts) + places(earlier)


def setup(level: str) -> None:
    """Send all logs of this process to stderr from `level` on."""
    # Nothing of ours prints threads, processes or places; not collecting them saves half of a line's cost (Python's
    # Logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
