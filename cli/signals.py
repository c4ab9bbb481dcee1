"""The signals that end a command which runs until it is told to stop."""

import signal
from types import FrameType
from typing import NoReturn


class Stopped(BaseException):
    """SIGTERM or SIGINT came. Not an Exception: nothing on the way may take it for an error of its own."""


def stop_on_signals() -> None:
    """Have the first of them raise Stopped in the main thread; once is enough, further ones are ignored."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        ignore_signals()
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def is_stop(error: BaseException) -> bool:
    """Whether it is the signal: compiled code of Ray, interrupted by Stopped, raises SystemError instead."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Stopped):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def ignore_signals() -> None:
    """The end must not be interrupted."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
