"""What somebody teaches: a message, what it is, and who says so."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from actors.classifier.learning.bounds import SourceKind
from actors.classifier.learning.layers import SHARED, tenant_layer, user_layer
from actors.model import Message

HEADER_BYTES_MAX: Final = 256 * 1024
BODY_BYTES_MAX: Final = 512 * 1024
"""What comes after is cut off: features look at less."""
EXAMPLE_BYTES_MAX: Final = HEADER_BYTES_MAX + BODY_BYTES_MAX + 4096
SOURCE_CHARS_MAX: Final = 200
_PARENT_SHARE: Final = 0.25
"""What a user's lesson does to the layer above: four users who agree do what one who speaks for all does."""
_IDENTITY_FIELDS: Final = (b"from", b"subject")
_DIGEST_BYTES: Final = 16


class Label(StrEnum):
    """What the message is, or that it is not to be an example any more."""

    SPAM = "spam"
    HAM = "ham"
    FORGET = "forget"


class ExampleError(ValueError):
    """Nothing that could be learnt; the text is one line for whoever teaches."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One message that is taught."""

    label: Label
    kind: SourceKind
    source: str
    """Whose bounds count: a user's address, a tenant, the name of a trap or of an operator's token."""
    tenant: str = ""
    user: bytes = b""
    header_block: bytes
    body: bytes
    at_s: float
    """Unix time at which it was taken; its UTC day is the one whose bounds count."""

    def __repr__(self) -> str:
        return f"Example({self.label}, {self.kind}, {len(self.header_block) + len(self.body)} bytes)"

    @property
    def message(self) -> Message:
        """As actors see it."""
        return Message(header_block=self.header_block, body=self.body)

    @property
    def day(self) -> int:
        """Days since 1970."""
        return int(self.at_s // 86_400)


def check_example(example: Example) -> Mapping[str, float]:
    """The layers that the example teaches, the narrowest first, each with its share. Raises ExampleError.

    A user teaches the layer of that user, and a quarter as strongly that of the tenant; a tenant its own; nobody in
    particular everybody's.
    """
    if not (example.header_block or example.body):
        raise ExampleError("the message is empty")
    if len(example.header_block) > HEADER_BYTES_MAX:
        raise ExampleError(f"the header section is above {HEADER_BYTES_MAX} bytes")
    if len(example.body) > BODY_BYTES_MAX:
        raise ExampleError(f"the body is above {BODY_BYTES_MAX} bytes and was not cut")
    if not example.source or len(example.source) > SOURCE_CHARS_MAX or not example.source.isprintable():
        raise ExampleError(f"the source is not 1 to {SOURCE_CHARS_MAX} printable characters")
    if example.kind is SourceKind.USER and not example.user:
        raise ExampleError("a user teaches without saying who it is")
    if example.kind is SourceKind.TENANT and not example.tenant:
        raise ExampleError("a tenant teaches without saying which it is")
    if example.kind is SourceKind.TRAP and example.label is Label.HAM:
        raise ExampleError("a spam trap gets no ham")
    if not 0 <= example.at_s < 1e11:
        raise ExampleError("the time is none")
    try:
        above = tenant_layer(example.tenant)
        return {user_layer(example.tenant, example.user): 1.0, above: _PARENT_SHARE} if example.user else {above: 1.0}
    except ValueError as error:
        raise ExampleError(str(error)) from error


def outer_layers(name: str) -> tuple[str, ...]:
    """The layers that weigh in where this one does: everybody's and the tenant's, itself last."""
    if name == SHARED:
        return (SHARED,)
    kind, _, rest = name.partition(":")
    tenant = rest.partition("/")[0]
    if kind == "u" and tenant:
        return (SHARED, tenant_layer(tenant), name)
    return (SHARED, name)


def digest_of(message: Message) -> str:
    """By what a message is known again: author, subject and body, not the fields that differ for each recipient.

    Line ends do not matter, nor does white space at the end: an IMAP server has it otherwise than the MTA.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name in _IDENTITY_FIELDS:
        digest.update(b"\0".join([name, *(b"".join(value.split()) for value in message.header_values(name)), b"\0"]))
    digest.update(message.body.replace(b"\r\n", b"\n").rstrip())
    return digest.hexdigest()


def encode_example(example: Example) -> bytes:
    """As it waits in the journal."""
    return msgspec.msgpack.encode(example)


def decode_example(data: bytes) -> Example:
    """Raises ExampleError for what is none, or of another release."""
    if len(data) > EXAMPLE_BYTES_MAX:
        raise ExampleError("too long")
    try:
        return msgspec.msgpack.decode(data, type=Example)
    except msgspec.DecodeError as error:
        raise ExampleError("not an example of this release") from error
