"""What passes between the gateway's bytes and a verdict: message, findings, edits, verdict.

Frozen values without behaviour beyond reading themselves; most are msgspec's structs, which are made in a fifth of the
time of a frozen dataclass. Mail is bytes; text appears only where a person or a
policy reads it. `cluster/codec.py` maps these to the protobuf contract one to one.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

import msgspec

from wire.message import parse_header_block, unfold

NO_FACTS: Mapping[str, str] = MappingProxyType({})


class Word(StrEnum):
    """A word of our own; it is hashed as the text it is, since Enum's own hash is a call of Python's."""

    __hash__ = str.__hash__


class Direction(Word):
    """Where the message comes from and goes to."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    INTERNAL = "internal"


class Stage(Word):
    """How much of the transaction is known when an actor is asked."""

    CONNECT = "connect"
    """The client is known, and the MTA waits for an answer; so at the next two."""
    HELO = "helo"
    MAIL = "mail"
    ENVELOPE = "envelope"
    """What is known is the same as at MAIL; nobody waits, work for the later stages begins."""
    RECIPIENT = "recipient"
    HEADERS = "headers"
    MESSAGE = "message"
    SIGN = "sign"
    """The verdict is known: what leaves is signed."""


class Outcome(Word):
    """The typed result of a finding; the words of RFC 8601 section 2.7 where it has one."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
    HIT = "hit"
    CLEAN = "clean"
    INFECTED = "infected"
    HAM = "ham"
    SPAM = "spam"
    SKIPPED = "skipped"
    ERROR = "error"
    """A failure of Tamis itself: late, crashed, unreachable. `detail` begins with the kind."""


class ErrorKind(Word):
    """First word of the detail of a finding with Outcome.ERROR."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    CRASH = "crash"
    OVERLOADED = "overloaded"
    MALFORMED = "malformed"


class Action(Word):
    """What is done with the message, mildest first (the order is data: see `decide`)."""

    ACCEPT = "accept"
    ADD_HEADER = "add_header"
    REWRITE_SUBJECT = "rewrite_subject"
    TEMPFAIL = "tempfail"
    QUARANTINE = "quarantine"
    DISCARD = "discard"
    REJECT = "reject"


class Client(msgspec.Struct, frozen=True):
    """The remote SMTP client as the MTA reported it."""

    ip: str = ""
    """Textual IPv4 or IPv6 address, empty for local submission."""
    port: int = 0
    hostname: bytes = b""
    helo: bytes = b""
    auth_user: bytes = b""
    tls_version: str = ""
    cert_subject: str = ""
    """Common names of the client's certificate and of its issuer, told only of one that the MTA has verified."""
    cert_issuer: str = ""
    auth_type: str = ""
    """SASL mechanism of the authentication."""


class Recipient(msgspec.Struct, frozen=True):
    """One envelope recipient with the tenant it belongs to ("" = default tenant)."""

    address: bytes
    esmtp_args: tuple[bytes, ...] = ()
    tenant: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """The SMTP envelope as far as it is known at the stage that asks."""

    transaction_id: bytes = b""
    client: Client = Client()
    direction: Direction = Direction.INBOUND
    tenant: str = ""
    sender: bytes = b""
    """Envelope sender (RFC 5321 reverse-path) without angle brackets; empty for bounces."""
    esmtp_args: tuple[bytes, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    queue_id: str = ""
    daemon_name: str = ""
    mta_name: str = ""
    received_at_s: float = 0.0
    """Unix time at which the transaction began: the clock of everything that judges dates in this message."""
    mirrored: bool = False
    """A copy of mail that another cell has judged: nothing that later mail is judged by may learn from it."""
    explained: bool = False
    """Somebody reads the findings: actors may spend time on explanations."""
    macros: Mapping[str, str] = NO_FACTS
    """Macros of the MTA that [gateway] macros names, without braces; from MESSAGE on."""


class Message(msgspec.Struct, frozen=True, dict=True):
    """A message as far as it is known at the stage that asks; body and headers are empty before their stage."""

    envelope: Envelope = Envelope()
    header_block: bytes = b""
    """The header section as on the wire: CRLF line ends, folding kept, without the empty line at its end."""
    body: bytes = b""
    known: "tuple[Finding, ...]" = ()
    """At SIGN, what the same actor found about it as it came."""

    @cached_property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """(name, value) of each field in order, as `parse_header_block` gives them."""
        return parse_header_block(self.header_block)

    @cached_property
    def header_block_lower(self) -> bytes:
        """For a quick look whether a word occurs at all."""
        return self.header_block.lower()

    @cached_property
    def fields_by_name(self) -> Mapping[bytes, Sequence[tuple[bytes, bytes]]]:
        """The same by lower-case name, names in the order of their first field."""
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for field in self.headers:
            found.setdefault(field[0].lower(), []).append(field)
        return found

    def header_values(self, name: bytes) -> list[bytes]:
        """Unfolded, stripped values of all fields of this name (any case), in order."""
        return [unfold(value) for _, value in self.fields_by_name.get(name.lower(), ())]

    @property
    def raw(self) -> bytes:
        """The whole message as on the wire."""
        return self.header_block + b"\r\n" + self.body


PLACE = "place"
"""Fact of a finding about one of several like things in a message: which one, counted from the top (0 = first)."""
KEY = "key"
"""Fact of a finding about a DKIM signature that did not pass: what is special about its key."""
NO_KEY, TEST_KEY = "missing", "testing"
"""DNS says that there is none; its owner only tries it out (t=y)."""
VOUCHED = "vouched"
"""Fact of the finding `arc`: the author domain that DMARC passed for when a trusted sealer got the message."""
FORGIVEN = "forgiven"
"""Fact of a finding `dmarc` that is a failure or may be one: who vouched for the author, so that nothing follows."""


class Finding(msgspec.Struct, frozen=True):
    """One fact that one actor reports. Never an action: `decide` acts."""

    actor: str
    name: str
    outcome: Outcome
    score: float = 0.0
    detail: str = ""
    ms: float = 0.0
    facts: Mapping[str, str] = NO_FACTS


def error_finding(actor: str, name: str, kind: ErrorKind, detail: str = "", ms: float = 0.0) -> Finding:
    """The one way to report a failure of our own; `detail` begins with the kind."""
    return Finding(actor, name, Outcome.ERROR, 0.0, f"{kind}: {detail}" if detail else str(kind), ms)


SIGNING, SIGNATURE = "signing", "signature"
"""Names of the dkim actor's findings: what is to be done about signing a message, and a field that signs it."""
OURS, UNVERIFIED = "ours", "unverified"
"""Facts of the finding `signing` about mail that is left alone: it comes from one of ours ("yes"); how many signatures
nobody looked at."""
SEALING, SEAL = "sealing", "seal"
"""The same about its ARC set."""
BODY_HASH = "sha256."
"""What names of facts begin with that hold the hash of the body, as it came."""


STRESS = "stress"
"""Detail of the finding about an actor that was not asked, because there was too much to do."""


def skipped_finding(actor: str) -> Finding:
    """The actor was left out: its part of the verdict is missing."""
    return Finding(actor, actor, Outcome.SKIPPED, detail=STRESS)


CUT = "cut"
"""Detail of the finding about an actor whose answer was not waited for, because it could not change the action."""


def cut_finding(actor: str) -> Finding:
    """The actor was asked, and the verdict was certain before it answered: nothing is missing."""
    return Finding(actor, actor, Outcome.SKIPPED, detail=CUT)


def is_unheard(finding: Finding) -> bool:
    """Whether an actor says nothing by this because it was left out or not waited for."""
    return finding.outcome is Outcome.SKIPPED and finding.detail in (STRESS, CUT)


class Lookup(msgspec.Struct, frozen=True):
    """One wait for the outside world during an examination, relative to its start; for the trace."""

    name: str
    """Span name: dns.query, clamd.scan, redis."""
    start_s: float
    duration_s: float
    detail: str = ""


class Reply(msgspec.Struct, frozen=True):
    """SMTP reply for tempfail and reject; `text` is public: generic, printable ASCII, one line."""

    code: int
    enhanced: str
    text: str


class AddHeader(msgspec.Struct, frozen=True):
    """Append a field at the end of the header section."""

    name: bytes
    value: bytes


class InsertHeader(msgspec.Struct, frozen=True):
    """Insert a field at a position from the top (0 = first)."""

    index: int
    name: bytes
    value: bytes


class ChangeHeader(msgspec.Struct, frozen=True):
    """Replace the value of the `occurrence`-th field of this name (from 1)."""

    name: bytes
    occurrence: int
    value: bytes


class DeleteHeader(msgspec.Struct, frozen=True):
    """Delete the `occurrence`-th field of this name (from 1, counted in the message as received)."""

    name: bytes
    occurrence: int


class ReplaceBody(msgspec.Struct, frozen=True):
    """Replace the whole body."""

    body: bytes

    def __repr__(self) -> str:
        return f"ReplaceBody({len(self.body)} bytes)"


class ChangeSender(msgspec.Struct, frozen=True):
    """Replace the envelope sender."""

    address: bytes
    esmtp_args: bytes = b""


class AddRecipient(msgspec.Struct, frozen=True):
    """Add an envelope recipient."""

    address: bytes
    esmtp_args: bytes = b""


class DeleteRecipient(msgspec.Struct, frozen=True):
    """Remove an envelope recipient."""

    address: bytes


Edit = (
    AddHeader | InsertHeader | ChangeHeader | DeleteHeader | ReplaceBody | ChangeSender | AddRecipient | DeleteRecipient
)


class Verdict(msgspec.Struct, frozen=True):
    """What `decide` made of the findings."""

    action: Action
    reply: Reply | None = None
    """Set exactly when the action is TEMPFAIL or REJECT."""
    score: float = 0.0
    reasons: tuple[str, ...] = ()
    """Private text, most important first; never sent to the SMTP client."""
    edits: tuple[Edit, ...] = ()
    degraded: bool = False
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    quarantine_reason: str = ""


class EarlyVerdict(msgspec.Struct, frozen=True):
    """What `decide_early` made of the findings before the message is known: ACCEPT, TEMPFAIL or REJECT."""

    action: Action
    reply: Reply | None = None
    reasons: tuple[str, ...] = ()
