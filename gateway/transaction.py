"""One SMTP transaction as the gateway knows it: the copy that is kept until the verdict, for replay.

The session fills it while the MTA talks, the exchange reads it from the start for every ingress that has to hear of
it, so that forwarding and replay are one thing. Mail is bytes; only macros become text.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from gateway.body import Body
from tamis.filter.v1 import message_pb2
from wire.trace import TraceContext


class Failure(StrEnum):
    """Why a transaction got no verdict: the class in the metrics, the log and the X-Tamis-Unfiltered header."""

    UNREACHABLE = "unreachable"
    """No ingress within the ingress budget."""
    TIMEOUT = "timeout"
    """No verdict within the end-of-message budget."""
    OVERLOADED = "overloaded"
    """Every ingress refused it, or the gateway holds as much as it may."""
    PROTOCOL = "protocol"
    """The ingress did not understand us: two releases that do not fit."""
    INTERNAL = "internal"
    """A verdict that cannot be applied, an ingress that failed inside, or a message that broke too many streams."""


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What the shell gives a new transaction: ids, trace and clocks."""

    transaction_id: bytes
    """16 random bytes."""
    trace: TraceContext
    """Its span id is that of the milter.transaction span."""
    received_at_ns: int
    """Unix time."""
    opened_at_s: float
    """Monotonic time, the base of the event loop's clock."""


class Client(msgspec.Struct, frozen=True, gc=False):
    """The remote SMTP client and the listener of the MTA that took it."""

    ip: str = ""
    port: int = 0
    hostname: bytes = b""
    helo: bytes = b""
    tls_version: str = ""
    cert_subject: str = ""
    cert_issuer: str = ""
    daemon_name: str = ""
    mta_name: str = ""


class Recipient(msgspec.Struct, frozen=True, gc=False):
    """One RCPT, in the order of arrival, refused ones included."""

    address: bytes
    esmtp_args: tuple[bytes, ...]
    tenant: str


@dataclass(slots=True)
class Transaction:
    """From MAIL to the verdict; or a question about the client alone, at CONNECT or HELO."""

    identity: Identity
    client: Client
    auth_user: bytes
    direction: message_pb2.Direction
    tenant: str
    sender: bytes = b""
    esmtp_args: tuple[bytes, ...] = ()
    auth_type: str = ""
    has_mail: bool = True
    """False for a question about the client alone."""
    queue_id: str = ""
    macros: dict[str, str] = field(default_factory=dict)
    """Those that the config lists, at the end of the message."""
    recipients: list[Recipient] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    """Indexes of recipients that will not be delivered to."""
    header_block: bytes | None = None
    """CRLF line ends, without the empty line; None before end of headers."""
    header_bytes: int = 0
    """Of the header section as received, also of one that is not kept; `headers` is the number of its fields."""
    headers: int = 0
    body: Body = field(default_factory=Body)
    body_bytes: int = 0
    """Of the body as received, also of one that is not kept."""
    held_bytes: int = 0
    """What this copy holds of the gateway's memory, not of its disk; `envelope_bytes` stay to its end."""
    envelope_bytes: int = 0
    oversize: bool = False
    """Above what may be one message: no longer kept or forwarded."""
    failure: Failure | None = None
    """Set by the session when it may not keep the copy."""

    @property
    def message_bytes(self) -> int:
        """Of the message as received."""
        return self.header_bytes + self.body_bytes

    @property
    def keeps_content(self) -> bool:
        """False once the message can no longer be scored: its bytes are counted, not kept."""
        return not self.oversize and self.failure is None
