"""A whole message as the events by which a gateway would tell it: for `Scan`, and for the copy that a mirror sends.

Pure and lazy: the body is cut as it is asked for, into chunks that the credit of a transaction always covers sooner or
later, since an ingress tops it up when half is spent.
"""

from collections.abc import Iterator

from tamis.filter.v1 import filter_service_pb2 as pb
from tamis.filter.v1 import message_pb2
from wire.stream import INITIAL_BODY_CREDIT_BYTES

CHUNK_BYTES = INITIAL_BODY_CREDIT_BYTES // 4


def whole_message(  # noqa: PLR0913  what a message is made of
    envelope: message_pb2.Envelope,
    header_block: bytes,
    body: bytes,
    left_s: float,
    *,
    number: int = 1,
    traceparent: str = "",
    mirrored: bool = False,
    explain: bool = False,
) -> Iterator[pb.Event]:
    """The events of transaction `number`, for a verdict within `left_s`."""
    budget_ms = max(1, int(left_s * 1000))
    yield pb.Event(
        transaction=number,
        begin=pb.Begin(
            transaction_id=envelope.transaction_id,
            budget_ms=budget_ms,
            traceparent=traceparent,
            client=envelope.client,
            direction=envelope.direction,
            tenant=envelope.tenant,
            daemon_name=envelope.daemon_name,
            mta_name=envelope.mta_name,
            received_at_ms=envelope.received_at_ms,
            mirrored=mirrored,
            explain=explain,
        ),
    )
    yield pb.Event(transaction=number, mail=pb.Mail(sender=envelope.sender, esmtp_args=envelope.esmtp_args))
    for recipient in envelope.recipients:
        yield pb.Event(transaction=number, recipient=pb.NewRecipient(recipient=recipient))
    yield pb.Event(transaction=number, headers=pb.Headers(header_block=header_block, queue_id=envelope.queue_id))
    for offset in range(0, len(body), CHUNK_BYTES):
        yield pb.Event(transaction=number, body=body[offset : offset + CHUNK_BYTES])
    yield pb.Event(transaction=number, end_of_message=pb.EndOfMessage(budget_ms=budget_ms, macros=envelope.macros))
