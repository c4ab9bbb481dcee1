"""A milter connection between two events as bytes, for the process that goes on with it after a restart. Pure.

Strategy: one msgpack record per connection behind a head that names the format; a change of any `Saved` or of
`FilterSnapshot` gets a new FORMAT, and a process that meets another one than its own takes nothing. Nothing is pickled,
and every record is checked against its type.
"""

from collections.abc import Iterator
from typing import BinaryIO, cast

import msgspec

from gateway.early import Stage
from gateway.transaction import Client, Failure, Identity, Recipient, Transaction
from tamis.filter.v1 import message_pb2
from wire.milter import FilterSnapshot
from wire.trace import parse_traceparent

FORMAT = 1
_LENGTH_BYTES = 4

Macros = dict[int, dict[bytes, bytes]]


class BrokenSnapshot(Exception):
    """The bytes are no snapshot that this release can go on from; the text says why."""


class SavedTransaction(msgspec.Struct, frozen=True, array_like=True):
    """A `Transaction`; see there."""

    transaction_id: bytes
    traceparent: str
    received_at_ns: int
    opened_at_s: float
    """Monotonic time holds across processes, not across boots; neither do sockets."""
    client: Client
    auth_user: bytes
    direction: int
    tenant: str
    sender: bytes
    esmtp_args: tuple[bytes, ...]
    auth_type: str
    has_mail: bool
    queue_id: str
    recipients: list[Recipient]
    refused: set[int]
    header_block: bytes | None
    header_bytes: int
    headers: int
    body: list[bytes]
    """What is in memory of it; what is not is the file that comes with the connection."""
    stored_bytes: int
    body_bytes: int
    held_bytes: int
    envelope_bytes: int
    oversize: bool
    failure: Failure | None


class SavedQuestion(msgspec.Struct, frozen=True, array_like=True):
    """A question whose answer the MTA waits for: it is asked again."""

    stage: Stage | None = None
    """None = at end of message."""
    client_only: SavedTransaction | None = None
    """What it is about, if not the session's transaction."""
    recipient: int = 0


class SavedSession(msgspec.Struct, frozen=True, array_like=True):
    """A `Session`; see there."""

    stages: frozenset[Stage]
    """At which the MTA waits, as negotiated."""
    leading_space: bool
    client: Client
    macros: Macros
    macros_for: int | None
    fields: bytes
    transaction: SavedTransaction | None
    question: SavedQuestion | None


class SavedConnection(msgspec.Struct, frozen=True, array_like=True):
    """A milter connection."""

    codec: FilterSnapshot
    session: SavedSession


class _Head(msgspec.Struct, frozen=True, array_like=True):
    format: int


_decode_connection = msgspec.msgpack.Decoder(SavedConnection).decode


def head() -> bytes:
    """What a file of snapshots begins with."""
    return _framed(_Head(FORMAT))


def record(cookie: int, connection: SavedConnection) -> bytes:
    """One connection in a file of snapshots; `cookie` is the kernel's number of its socket, the same in every process.

    It is encoded apart, so that one broken record costs one connection.
    """
    return _framed((cookie, msgspec.msgpack.encode(connection)))


def records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Cookie and undecoded connection of each record. Raises BrokenSnapshot."""
    frames = _frames(file)
    try:
        first = next(frames, None)
        found = msgspec.msgpack.decode(first, type=_Head).format if first is not None else 0
        if found != FORMAT:
            raise BrokenSnapshot(f"format {found}, this release has {FORMAT}")
        for frame in frames:
            yield msgspec.msgpack.decode(frame, type=tuple[int, bytes])
    except msgspec.MsgspecError as error:
        raise BrokenSnapshot(str(error)) from error


def connection_of(encoded: bytes) -> SavedConnection:
    """The connection of a record. Raises BrokenSnapshot."""
    try:
        return _decode_connection(encoded)
    except msgspec.MsgspecError as error:
        raise BrokenSnapshot(str(error)) from error


def save_transaction(transaction: Transaction) -> SavedTransaction:
    """A transaction as saved."""
    identity = transaction.identity
    return SavedTransaction(
        transaction_id=identity.transaction_id,
        traceparent=identity.trace.traceparent(),
        received_at_ns=identity.received_at_ns,
        opened_at_s=identity.opened_at_s,
        client=transaction.client,
        auth_user=transaction.auth_user,
        direction=int(transaction.direction),
        tenant=transaction.tenant,
        sender=transaction.sender,
        esmtp_args=transaction.esmtp_args,
        auth_type=transaction.auth_type,
        has_mail=transaction.has_mail,
        queue_id=transaction.queue_id,
        recipients=transaction.recipients,
        refused=transaction.refused,
        header_block=transaction.header_block,
        header_bytes=transaction.header_bytes,
        headers=transaction.headers,
        body=transaction.body.in_memory(),
        stored_bytes=transaction.body.stored_bytes,
        body_bytes=transaction.body_bytes,
        held_bytes=transaction.held_bytes,
        envelope_bytes=transaction.envelope_bytes,
        oversize=transaction.oversize,
        failure=transaction.failure,
    )


def restore_transaction(saved: SavedTransaction) -> Transaction:
    """The transaction that was saved, with the same id. Raises BrokenSnapshot."""
    trace = parse_traceparent(saved.traceparent)
    if trace is None or saved.direction not in message_pb2.Direction.values():
        raise BrokenSnapshot("trace or direction of a transaction")
    restored = Transaction(
        identity=Identity(saved.transaction_id, trace, saved.received_at_ns, saved.opened_at_s),
        client=saved.client,
        auth_user=saved.auth_user,
        direction=cast("message_pb2.Direction", saved.direction),
        tenant=saved.tenant,
        sender=saved.sender,
        esmtp_args=saved.esmtp_args,
        auth_type=saved.auth_type,
        has_mail=saved.has_mail,
        queue_id=saved.queue_id,
        recipients=saved.recipients,
        refused=saved.refused,
        header_block=saved.header_block,
        header_bytes=saved.header_bytes,
        headers=saved.headers,
        body_bytes=saved.body_bytes,
        held_bytes=saved.held_bytes,
        envelope_bytes=saved.envelope_bytes,
        oversize=saved.oversize,
        failure=saved.failure,
    )
    restored.body.resume(saved.stored_bytes, saved.body)
    return restored


def _framed(value: _Head | tuple[int, bytes]) -> bytes:
    encoded = msgspec.msgpack.encode(value)
    return len(encoded).to_bytes(_LENGTH_BYTES) + encoded


def _frames(file: BinaryIO) -> Iterator[bytes]:
    while length := file.read(_LENGTH_BYTES):
        frame_bytes = int.from_bytes(length)
        frame = file.read(frame_bytes)
        if len(length) < _LENGTH_BYTES or len(frame) < frame_bytes:
            raise BrokenSnapshot("the file ends in the middle of a record")
        yield frame
