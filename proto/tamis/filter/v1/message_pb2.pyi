from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_INBOUND: _ClassVar[Direction]
    DIRECTION_OUTBOUND: _ClassVar[Direction]
    DIRECTION_INTERNAL: _ClassVar[Direction]

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_ENVELOPE: _ClassVar[Stage]
    STAGE_RECIPIENT: _ClassVar[Stage]
    STAGE_HEADERS: _ClassVar[Stage]
    STAGE_MESSAGE: _ClassVar[Stage]
    STAGE_CONNECT: _ClassVar[Stage]
    STAGE_HELO: _ClassVar[Stage]
    STAGE_MAIL: _ClassVar[Stage]
    STAGE_SIGN: _ClassVar[Stage]
DIRECTION_UNSPECIFIED: Direction
DIRECTION_INBOUND: Direction
DIRECTION_OUTBOUND: Direction
DIRECTION_INTERNAL: Direction
STAGE_UNSPECIFIED: Stage
STAGE_ENVELOPE: Stage
STAGE_RECIPIENT: Stage
STAGE_HEADERS: Stage
STAGE_MESSAGE: Stage
STAGE_CONNECT: Stage
STAGE_HELO: Stage
STAGE_MAIL: Stage
STAGE_SIGN: Stage

class Client(_message.Message):
    __slots__ = ("ip", "port", "hostname", "helo", "auth_user", "tls_version", "cert_subject", "cert_issuer", "auth_type")
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    HELO_FIELD_NUMBER: _ClassVar[int]
    AUTH_USER_FIELD_NUMBER: _ClassVar[int]
    TLS_VERSION_FIELD_NUMBER: _ClassVar[int]
    CERT_SUBJECT_FIELD_NUMBER: _ClassVar[int]
    CERT_ISSUER_FIELD_NUMBER: _ClassVar[int]
    AUTH_TYPE_FIELD_NUMBER: _ClassVar[int]
    ip: str
    port: int
    hostname: bytes
    helo: bytes
    auth_user: bytes
    tls_version: str
    cert_subject: str
    cert_issuer: str
    auth_type: str
    def __init__(self, ip: _Optional[str] = ..., port: _Optional[int] = ..., hostname: _Optional[bytes] = ..., helo: _Optional[bytes] = ..., auth_user: _Optional[bytes] = ..., tls_version: _Optional[str] = ..., cert_subject: _Optional[str] = ..., cert_issuer: _Optional[str] = ..., auth_type: _Optional[str] = ...) -> None: ...

class Recipient(_message.Message):
    __slots__ = ("address", "esmtp_args", "tenant")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ESMTP_ARGS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    esmtp_args: _containers.RepeatedScalarFieldContainer[bytes]
    tenant: str
    def __init__(self, address: _Optional[bytes] = ..., esmtp_args: _Optional[_Iterable[bytes]] = ..., tenant: _Optional[str] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("transaction_id", "client", "direction", "tenant", "sender", "esmtp_args", "recipients", "queue_id", "daemon_name", "mta_name", "received_at_ms", "mirrored", "explained", "macros")
    class MacrosEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    ESMTP_ARGS_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
    DAEMON_NAME_FIELD_NUMBER: _ClassVar[int]
    MTA_NAME_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_FIELD_NUMBER: _ClassVar[int]
    EXPLAINED_FIELD_NUMBER: _ClassVar[int]
    MACROS_FIELD_NUMBER: _ClassVar[int]
    transaction_id: bytes
    client: Client
    direction: Direction
    tenant: str
    sender: bytes
    esmtp_args: _containers.RepeatedScalarFieldContainer[bytes]
    recipients: _containers.RepeatedCompositeFieldContainer[Recipient]
    queue_id: str
    daemon_name: str
    mta_name: str
    received_at_ms: int
    mirrored: bool
    explained: bool
    macros: _containers.ScalarMap[str, str]
    def __init__(self, transaction_id: _Optional[bytes] = ..., client: _Optional[_Union[Client, _Mapping]] = ..., direction: _Optional[_Union[Direction, str]] = ..., tenant: _Optional[str] = ..., sender: _Optional[bytes] = ..., esmtp_args: _Optional[_Iterable[bytes]] = ..., recipients: _Optional[_Iterable[_Union[Recipient, _Mapping]]] = ..., queue_id: _Optional[str] = ..., daemon_name: _Optional[str] = ..., mta_name: _Optional[str] = ..., received_at_ms: _Optional[int] = ..., mirrored: _Optional[bool] = ..., explained: _Optional[bool] = ..., macros: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("envelope", "header_block", "body")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    HEADER_BLOCK_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    envelope: Envelope
    header_block: bytes
    body: bytes
    def __init__(self, envelope: _Optional[_Union[Envelope, _Mapping]] = ..., header_block: _Optional[bytes] = ..., body: _Optional[bytes] = ...) -> None: ...
