"""How much a peer may send, and the count of what it sent in this transaction.

Strategy: judged on the raw payload, before it is decoded, so that nothing is allocated for what is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass

from wire.milter import constants as c
from wire.milter.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds; what passes one raises LimitExceeded."""

    frame_slack_bytes: int = 128 * 1024
    """On top of the negotiated data size: Postfix sends a header of up to header_size_limit (102400) in one frame."""
    macros_max: int = 256
    """In one MACRO command."""
    macro_bytes_max: int = 64 * 1024
    """Names and values of one MACRO command; those of nine stages are kept."""
    line_bytes_max: int = 16 * 1024
    """Of one CONNECT, HELO, MAIL, RCPT or unknown command: what was an SMTP line, of 2,048 bytes in Postfix."""
    recipients_max: int = 50_000
    address_bytes_max: int = 4096
    esmtp_args_max: int = 64
    envelope_bytes_max: int = 16 * 1024 * 1024
    """All MAIL and RCPT payloads of a transaction."""
    headers_max: int = 10_000
    header_bytes_max: int = 1024 * 1024
    """Names and values of all header fields of a message."""
    message_bytes_max: int = 128 * 1024 * 1024
    """Body bytes of a message."""


class Tally:
    """What one transaction holds so far."""

    __slots__ = ("_body_bytes", "_envelope_bytes", "_header_bytes", "_headers", "_limits", "_recipients", "checks")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.checks: dict[int, Callable[[bytes], None]] = {
            c.SMFIC_MACRO: self._macros,
            c.SMFIC_CONNECT: self._line,
            c.SMFIC_UNKNOWN: self._line,
            c.SMFIC_MAIL: self._mail,
            c.SMFIC_RCPT: self._recipient,
            c.SMFIC_HEADER: self._header,
            c.SMFIC_BODY: self._body,
            c.SMFIC_BODYEOB: self._end,
            c.SMFIC_ABORT: self._reset,
            c.SMFIC_HELO: self._helo,
            c.SMFIC_QUIT_NC: self._reset,
        }
        """Command -> what counts its payload; each raises LimitExceeded."""
        self._reset()

    def counts(self) -> tuple[int, int, int, int, int]:
        """What was counted, for another tally."""
        return self._recipients, self._envelope_bytes, self._headers, self._header_bytes, self._body_bytes

    def resume(self, counts: tuple[int, int, int, int, int]) -> None:
        """Go on from the counts of another tally."""
        self._recipients, self._envelope_bytes, self._headers, self._header_bytes, self._body_bytes = counts

    def _reset(self, _payload: bytes = b"") -> None:
        self._recipients = 0
        self._envelope_bytes = 0
        self._headers = 0
        self._header_bytes = 0
        self._body_bytes = 0

    def _macros(self, payload: bytes) -> None:
        if payload.count(b"\0") > 2 * self._limits.macros_max:
            raise LimitExceeded(f"more than {self._limits.macros_max} macros in one command")

        if len(payload) > self._limits.macro_bytes_max:
            raise LimitExceeded(f"macros of more than {self._limits.macro_bytes_max} bytes in one command")

    def _line(self, payload: bytes) -> None:
        if len(payload) > self._limits.line_bytes_max:
            raise LimitExceeded(f"command of more than {self._limits.line_bytes_max} bytes")

    def _helo(self, payload: bytes) -> None:
        self._reset()
        self._line(payload)

    def _mail(self, payload: bytes) -> None:
        self._reset()
        self._envelope(payload)

    def _recipient(self, payload: bytes) -> None:
        self._recipients += 1
        if self._recipients > self._limits.recipients_max:
            raise LimitExceeded(f"more than {self._limits.recipients_max} recipients")
        self._envelope(payload)

    def _envelope(self, payload: bytes) -> None:
        limits = self._limits
        self._line(payload)
        self._envelope_bytes += len(payload)
        if self._envelope_bytes > limits.envelope_bytes_max:
            raise LimitExceeded(f"envelope of more than {limits.envelope_bytes_max} bytes")
        if payload.find(b"\0") > limits.address_bytes_max:
            raise LimitExceeded(f"address of more than {limits.address_bytes_max} bytes")
        if payload.count(b"\0") > limits.esmtp_args_max + 1:
            raise LimitExceeded(f"more than {limits.esmtp_args_max} ESMTP arguments")

    def _header(self, payload: bytes) -> None:
        self.fields(1, len(payload))

    def fields(self, count: int, size_bytes: int) -> None:
        """Count header fields."""
        self._headers += count
        self._header_bytes += size_bytes
        if self._headers > self._limits.headers_max:
            raise LimitExceeded(f"more than {self._limits.headers_max} header fields")
        if self._header_bytes > self._limits.header_bytes_max:
            raise LimitExceeded(f"header section of more than {self._limits.header_bytes_max} bytes")

    def _body(self, payload: bytes) -> None:
        self._body_bytes += len(payload)
        if self._body_bytes > self._limits.message_bytes_max:
            raise LimitExceeded(f"body of more than {self._limits.message_bytes_max} bytes")

    def _end(self, payload: bytes) -> None:
        self._body(payload)
        self._reset()
