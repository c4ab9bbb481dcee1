"""What one ingress still has to be told about a transaction: forwarding and replay in one. Pure.

Strategy: a cursor over the transaction. `take()` gives the events from the cursor to what is known by now and moves
it; `rewind()` sets it to the start for another ingress. Body bytes wait for credit; end of message waits for the body.
Messages within messages are given as mappings: a message given to a message is encoded and decoded again.
"""

from collections.abc import Callable

from gateway.early import NUMBERS, Stage
from gateway.transaction import Transaction
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from wire.stream import Credit

TRANSACTION_S = 14_400.0
"""From Begin on; then an ingress forgets the transaction. Longer than an MTA may be silent (`idle_timeout_s`)."""
BEGIN_BYTES = 1024
"""What the envelope of a transaction counts for in the balance of the ingresses."""
VERDICT_MARGIN_S = 0.25
"""The ingress gets this much less than the gateway waits, so that a verdict at the last moment still arrives."""

SizedEvent = tuple[filter_pb.Event, int]


class Exchange:
    """The cursor of one transaction on one ingress. `number` is its number on every stream."""

    __slots__ = (
        "_asked",
        "_credit",
        "_ended",
        "_headers",
        "_offset",
        "_recipients",
        "_stressed",
        "asked",
        "asked_recipient",
        "begun",
        "early_deadline_s",
        "number",
        "starved",
        "told_bytes",
        "transaction",
        "verdict_deadline_s",
    )

    def __init__(self, number: int, transaction: Transaction, *, stressed: bool = False) -> None:
        self.number = number
        self.transaction = transaction
        self._stressed = stressed
        self.asked: Stage | None = None
        """The stage whose early verdict is waited for, until `early_deadline_s`; at RCPT that of `asked_recipient`."""
        self.asked_recipient = 0
        self.early_deadline_s = 0.0
        self.verdict_deadline_s: float | None = None
        """Set when the message is complete and its verdict is wanted."""
        self.starved = False
        """The body goes on with what is on disk: it must be fetched first."""
        self.rewind()

    def rewind(self) -> None:
        """Start over: the next ingress knows nothing."""
        self.begun = False
        self._asked = False
        self._recipients = 0
        self._headers = False
        self._offset = 0
        self._ended = False
        self._credit = Credit()
        self.told_bytes = 0

    def grant(self, body_bytes: int) -> None:
        """The ingress takes more of the body."""
        self._credit.grant(body_bytes)

    def take(self, now_s: float) -> list[SizedEvent]:
        """Events that can be sent now, with their sizes; the cursor moves past them."""
        transaction = self.transaction
        events: list[SizedEvent] = []
        if not self.begun:
            self.begun = True
            self._begin(events)
        if self.asked is not None and self.asked is not Stage.RCPT and not self._asked:
            self._asked = True
            self._ask(events, self.asked, now_s)
        while self._recipients < len(transaction.recipients):
            self._recipient(events, self._recipients, now_s)
            self._recipients += 1
        if transaction.header_block is not None and not self._headers:
            self._headers = True
            headers = {"header_block": transaction.header_block, "queue_id": transaction.queue_id}
            events.append((filter_pb.Event(transaction=self.number, headers=headers), len(transaction.header_block)))
        if self._offset < transaction.body.size_bytes:
            self._body(events)
        if self.verdict_deadline_s is not None and not self._ended and self._offset == transaction.body.size_bytes:
            self._ended = True
            self._end(events, self.verdict_deadline_s - VERDICT_MARGIN_S - now_s)
        for _, size_bytes in events:
            self.told_bytes += size_bytes
        return events

    def _begin(self, events: list[SizedEvent]) -> None:
        transaction, client = self.transaction, self.transaction.client
        identity = transaction.identity
        begin = {
            "transaction_id": identity.transaction_id,
            "budget_ms": _milliseconds(TRANSACTION_S),
            "traceparent": identity.trace.traceparent(),
            "client": {
                "ip": client.ip,
                "port": client.port,
                "hostname": client.hostname,
                "helo": client.helo,
                "auth_user": transaction.auth_user,
                "tls_version": client.tls_version,
                "cert_subject": client.cert_subject,
                "cert_issuer": client.cert_issuer,
                "auth_type": transaction.auth_type,
            },
            "direction": transaction.direction,
            "tenant": transaction.tenant,
            "daemon_name": client.daemon_name,
            "mta_name": client.mta_name,
            "received_at_ms": identity.received_at_ns // 1_000_000,
            "stress": self._stressed,
        }
        events.append((filter_pb.Event(transaction=self.number, begin=begin), BEGIN_BYTES))
        if transaction.has_mail:
            mail = {"sender": transaction.sender, "esmtp_args": transaction.esmtp_args}
            events.append((filter_pb.Event(transaction=self.number, mail=mail), len(transaction.sender)))

    def _ask(self, events: list[SizedEvent], stage: Stage, now_s: float) -> None:
        ask = {"stage": NUMBERS[stage], "budget_ms": _milliseconds(self.early_deadline_s - now_s)}
        events.append((filter_pb.Event(transaction=self.number, ask=ask), 0))

    def _recipient(self, events: list[SizedEvent], index: int, now_s: float) -> None:
        known = self.transaction.recipients[index]
        waited_for = self.asked is Stage.RCPT and index == self.asked_recipient
        new = {
            "recipient": {"address": known.address, "esmtp_args": known.esmtp_args, "tenant": known.tenant},
            "budget_ms": _milliseconds(self.early_deadline_s - now_s) if waited_for else 0,
        }
        events.append((filter_pb.Event(transaction=self.number, recipient=new), len(known.address)))

    def _body(self, events: list[SizedEvent]) -> None:
        body, credit = self.transaction.body, self._credit
        self.starved = False
        while self._offset < body.size_bytes and credit.left_bytes:
            piece = body.piece(self._offset, credit.left_bytes)
            if piece is None:
                self.starved = True
                return
            credit.spend(len(piece))
            events.append((filter_pb.Event(transaction=self.number, body=piece), len(piece)))
            self._offset += len(piece)

    def fetch(self, then: Callable[[], None]) -> None:
        """`starved`: bring what is to be told next into memory; `then` is called when `take` has more."""
        self.transaction.body.fetch(self._offset, then)

    def _end(self, events: list[SizedEvent], left_s: float) -> None:
        end = {
            "budget_ms": _milliseconds(left_s),
            "queue_id": self.transaction.queue_id,
            "refused_recipients": sorted(self.transaction.refused),
            "macros": self.transaction.macros,
        }
        events.append((filter_pb.Event(transaction=self.number, end_of_message=end), 0))


def _milliseconds(left_s: float) -> int:
    """Time left for the wire; a late event still says 1 ms, since 0 means that nobody waits."""
    return max(1, int(left_s * 1000))
