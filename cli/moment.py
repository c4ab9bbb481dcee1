"""At which time a mail file is judged: the word of --now, or the time that the message itself tells."""

import contextlib
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from cli.mail_file import MailFile, dates


class MomentError(Exception):
    """--now is no time; the text is one line for the operator."""


def moment(now: str | None) -> float | None:
    """The one Unix time of --now, or None when each message brings its own. Raises MomentError."""
    if now == "message":
        return None
    try:
        return time.time() if now is None else _unix_time(datetime.fromisoformat(now))
    except ValueError as error:
        raise MomentError(f"--now {now}: not an ISO 8601 time") from error


def received_at_s(mail: MailFile) -> float:
    """The time in the topmost Received field; without one that of Date, without that the clock's."""
    for date in dates(mail.header_block):
        # What email.utils has for odd dates.
        with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
            return _unix_time(parsedate_to_datetime(date.decode("latin-1")))
    return time.time()


def _unix_time(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
