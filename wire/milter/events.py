"""What the two sides of a milter conversation say to each other: frozen values of bytes.

Strategy: one class per command and per reply. Nothing is decoded to text, trimmed or unfolded here: the codec gives
what was on the wire, so that a DKIM signature can be verified and any 8-bit content passes. Structs of msgspec, since
a frozen dataclass takes seven times as long to make, and each packet makes one.
"""

import msgspec

# --- MTA to filter ---------------------------------------------------------------------------------------------------


class Negotiate(msgspec.Struct, frozen=True, gc=False):
    """OPTNEG of the MTA: the newest version it speaks, the actions (SMFIF_*) and steps (SMFIP_*) that it offers."""

    version: int
    actions: int
    steps: int


class Macros(msgspec.Struct, frozen=True, gc=False):
    """Macros for the next `command` (its SMFIC_* code); names as sent, with braces or without."""

    command: int
    values: tuple[tuple[bytes, bytes], ...]


class Connect(msgspec.Struct, frozen=True, gc=False):
    """The SMTP client; `family` is one of SMFIA_*, `address` as sent (see `client_ip`), empty for SMFIA_UNKNOWN."""

    hostname: bytes
    family: bytes
    port: int
    address: bytes


class Helo(msgspec.Struct, frozen=True, gc=False):
    """HELO or EHLO with its argument."""

    name: bytes


class Mail(msgspec.Struct, frozen=True, gc=False):
    """MAIL FROM; `address` as sent, with its angle brackets (see `strip_brackets`)."""

    address: bytes
    esmtp_args: tuple[bytes, ...] = ()


class Recipient(msgspec.Struct, frozen=True, gc=False):
    """RCPT TO; `address` as sent, with its angle brackets (see `strip_brackets`)."""

    address: bytes
    esmtp_args: tuple[bytes, ...] = ()


class Data(msgspec.Struct, frozen=True, gc=False):
    """DATA (version 4)."""


class Header(msgspec.Struct, frozen=True, gc=False):
    """One header field. Folds are LF (see `folds_to_crlf`).

    The value keeps its leading space when SMFIP_HDR_LEADSPC was negotiated; else the MTA ate one space, if any.
    """

    name: bytes
    value: bytes


class EndOfHeaders(msgspec.Struct, frozen=True, gc=False):
    """The empty line after the header section."""


class Body(msgspec.Struct, frozen=True, gc=False):
    """A piece of the body, CRLF line ends, cut anywhere."""

    chunk: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.chunk)} bytes)"


class EndOfBody(msgspec.Struct, frozen=True, gc=False):
    """End of message, with the last piece of the body if any (Postfix sends none here, Sendmail may)."""

    chunk: bytes = b""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.chunk)} bytes)"


class Abort(msgspec.Struct, frozen=True, gc=False):
    """The mail transaction is over without a verdict; the connection goes on."""


class Quit(msgspec.Struct, frozen=True, gc=False):
    """The MTA will close the connection."""


class QuitNewConnection(msgspec.Struct, frozen=True, gc=False):
    """QUIT_NC (version 6): this SMTP client is gone, the next CONNECT comes on the same socket."""


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """An SMTP command that the MTA does not know (version 3), the whole line."""

    line: bytes


# --- filter to MTA ---------------------------------------------------------------------------------------------------


class Negotiated(msgspec.Struct, frozen=True, gc=False):
    """OPTNEG of the filter: what holds from now on; `symlists` are (SMFIM_* stage, names with spaces) pairs."""

    version: int
    actions: int
    steps: int
    symlists: tuple[tuple[int, bytes], ...] = ()


class Continue(msgspec.Struct, frozen=True, gc=False):
    """Go on."""


class Accept(msgspec.Struct, frozen=True, gc=False):
    """Take the message (or, at CONNECT and HELO, everything of this client) without asking further."""


class Reject(msgspec.Struct, frozen=True, gc=False):
    """5xx with the MTA's own text: the client, the message, or at RCPT this recipient."""


class Discard(msgspec.Struct, frozen=True, gc=False):
    """Tell the client that all is well and drop the message; not at CONNECT and HELO."""


class Tempfail(msgspec.Struct, frozen=True, gc=False):
    """4xx with the MTA's own text."""


class ReplyCode(msgspec.Struct, frozen=True, gc=False):
    """4xx or 5xx with our text: one SMTP reply, lines parted by CRLF, e.g. b"550 5.7.1 no" (see `format_reply`)."""

    text: bytes


class Progress(msgspec.Struct, frozen=True, gc=False):
    """Still working: the MTA starts its timer again. Another reply follows."""


class Skip(msgspec.Struct, frozen=True, gc=False):
    """Do not send more of this command for this message (version 6, when negotiated)."""


class ConnectionFail(msgspec.Struct, frozen=True, gc=False):
    """Make the client's connection fail (CONNECT only; Sendmail only)."""


class Shutdown(msgspec.Struct, frozen=True, gc=False):
    """421 and close the client's connection."""


class AddHeader(msgspec.Struct, frozen=True, gc=False):
    """Append a header field. The value needs its leading space exactly when SMFIP_HDR_LEADSPC was negotiated."""

    name: bytes
    value: bytes


class InsertHeader(msgspec.Struct, frozen=True, gc=False):
    """Insert a header field at `index` (0 = first). Leading space as in AddHeader."""

    index: int
    name: bytes
    value: bytes


class ChangeHeader(msgspec.Struct, frozen=True, gc=False):
    """Replace the value of the `occurrence`-th field of this name (from 1); an empty value deletes the field."""

    occurrence: int
    name: bytes
    value: bytes


class ReplaceBody(msgspec.Struct, frozen=True, gc=False):
    """A piece of the new body. Pieces follow each other with nothing in between, not even Progress."""

    chunk: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.chunk)} bytes)"


class ChangeFrom(msgspec.Struct, frozen=True, gc=False):
    """Replace the envelope sender; `args` are ESMTP arguments, one string."""

    address: bytes
    args: bytes = b""


class AddRecipient(msgspec.Struct, frozen=True, gc=False):
    """Add an envelope recipient."""

    address: bytes


class AddRecipientPar(msgspec.Struct, frozen=True, gc=False):
    """Add an envelope recipient with ESMTP arguments (version 6)."""

    address: bytes
    args: bytes = b""


class DeleteRecipient(msgspec.Struct, frozen=True, gc=False):
    """Remove an envelope recipient, as the MTA spelt it."""

    address: bytes


class Quarantine(msgspec.Struct, frozen=True, gc=False):
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
