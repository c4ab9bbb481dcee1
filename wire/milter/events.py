"""What the two sides of a milter conversation say to each other: frozen values of bytes.

Strategy: one class per command and per reply. Nothing is decoded to text, trimmed or unfolded here: the codec gives
what was on the wire, so that a DKIM signature can be verified and any 8-bit content passes.
"""

from dataclasses import dataclass, field

# --- MTA to filter ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Negotiate:
    """OPTNEG of the MTA: the newest version it speaks, the actions (SMFIF_*) and steps (SMFIP_*) that it offers."""

    version: int
    actions: int
    steps: int


@dataclass(frozen=True, slots=True)
class Macros:
    """Macros for the next `command` (its SMFIC_* code); names as sent, with braces or without."""

    command: int
    values: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Connect:
    """The SMTP client; `family` is one of SMFIA_*, `address` as sent (see `client_ip`), empty for SMFIA_UNKNOWN."""

    hostname: bytes
    family: bytes
    port: int
    address: bytes


@dataclass(frozen=True, slots=True)
class Helo:
    """HELO or EHLO with its argument."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM; `address` as sent, with its angle brackets (see `strip_brackets`)."""

    address: bytes
    esmtp_args: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipient:
    """RCPT TO; `address` as sent, with its angle brackets (see `strip_brackets`)."""

    address: bytes
    esmtp_args: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """DATA (version 4)."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header field. Folds are LF (see `folds_to_crlf`).

    The value keeps its leading space when SMFIP_HDR_LEADSPC was negotiated; else the MTA ate one space, if any.
    """

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class EndOfHeaders:
    """The empty line after the header section."""


@dataclass(frozen=True, slots=True)
class Body:
    """A piece of the body, CRLF line ends, cut anywhere."""

    chunk: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndOfBody:
    """End of message, with the last piece of the body if any (Postfix sends none here, Sendmail may)."""

    chunk: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Abort:
    """The mail transaction is over without a verdict; the connection goes on."""


@dataclass(frozen=True, slots=True)
class Quit:
    """The MTA will close the connection."""


@dataclass(frozen=True, slots=True)
class QuitNewConnection:
    """QUIT_NC (version 6): this SMTP client is gone, the next CONNECT comes on the same socket."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An SMTP command that the MTA does not know (version 3), the whole line."""

    line: bytes


# --- filter to MTA ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Negotiated:
    """OPTNEG of the filter: what holds from now on; `symlists` are (SMFIM_* stage, names with spaces) pairs."""

    version: int
    actions: int
    steps: int
    symlists: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Continue:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Take the message (or, at CONNECT and HELO, everything of this client) without asking further."""


@dataclass(frozen=True, slots=True)
class Reject:
    """5xx with the MTA's own text: the client, the message, or at RCPT this recipient."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Tell the client that all is well and drop the message; not at CONNECT and HELO."""


@dataclass(frozen=True, slots=True)
class Tempfail:
    """4xx with the MTA's own text."""


@dataclass(frozen=True, slots=True)
class ReplyCode:
    """4xx or 5xx with our text: one SMTP reply, lines parted by CRLF, e.g. b"550 5.7.1 no" (see `format_reply`)."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """Still working: the MTA starts its timer again. Another reply follows."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not send more of this command for this message (version 6, when negotiated)."""


@dataclass(frozen=True, slots=True)
class ConnectionFail:
    """Make the client's connection fail (CONNECT only; Sendmail only)."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """421 and close the client's connection."""


@dataclass(frozen=True, slots=True)
class AddHeader:
    """Append a header field. The value needs its leading space exactly when SMFIP_HDR_LEADSPC was negotiated."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """Insert a header field at `index` (0 = first). Leading space as in AddHeader."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    """Replace the value of the `occurrence`-th field of this name (from 1); an empty value deletes the field."""

    occurrence: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """A piece of the new body. Pieces follow each other with nothing in between, not even Progress."""

    chunk: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChangeFrom:
    """Replace the envelope sender; `args` are ESMTP arguments, one string."""

    address: bytes
    args: bytes = b""


@dataclass(frozen=True, slots=True)
class AddRecipient:
    """Add an envelope recipient."""

    address: bytes


@dataclass(frozen=True, slots=True)
class AddRecipientPar:
    """Add an envelope recipient with ESMTP arguments (version 6)."""

    address: bytes
    args: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteRecipient:
    """Remove an envelope recipient, as the MTA spelt it."""

    address: bytes


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Hold the message; the reason is for the queue's owner."""

    reason: bytes


Event = (
    Negotiate
    | Macros
    | Connect
    | Helo
    | Mail
    | Recipient
    | Data
    | Header
    | EndOfHeaders
    | Body
    | EndOfBody
    | Abort
    | Quit
    | QuitNewConnection
    | Unknown
)
"""What an MTA says."""

Edit = (
    AddHeader
    | InsertHeader
    | ChangeHeader
    | ReplaceBody
    | ChangeFrom
    | AddRecipient
    | AddRecipientPar
    | DeleteRecipient
    | Quarantine
)
"""What a filter may ask for at end of message, before its final answer."""

Answer = Negotiated | Continue | Accept | Reject | Discard | Tempfail | ReplyCode | Skip | ConnectionFail | Shutdown
"""What ends the wait of the MTA."""

Reply = Answer | Edit | Progress
"""What a filter says."""
