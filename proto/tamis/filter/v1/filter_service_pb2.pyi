from tamis.filter.v1 import message_pb2 as _message_pb2
from tamis.filter.v1 import verdict_pb2 as _verdict_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FilterRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class FilterResponse(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    def __init__(self, answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("transaction", "begin", "mail", "recipient", "headers", "body", "end_of_message", "abort", "keep", "ask")
    TRANSACTION_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    END_OF_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    transaction: int
    begin: Begin
    mail: Mail
    recipient: NewRecipient
    headers: Headers
    body: bytes
    end_of_message: EndOfMessage
    abort: Abort
    keep: Keep
    ask: Ask
    def __init__(self, transaction: _Optional[int] = ..., begin: _Optional[_Union[Begin, _Mapping]] = ..., mail: _Optional[_Union[Mail, _Mapping]] = ..., recipient: _Optional[_Union[NewRecipient, _Mapping]] = ..., headers: _Optional[_Union[Headers, _Mapping]] = ..., body: _Optional[bytes] = ..., end_of_message: _Optional[_Union[EndOfMessage, _Mapping]] = ..., abort: _Optional[_Union[Abort, _Mapping]] = ..., keep: _Optional[_Union[Keep, _Mapping]] = ..., ask: _Optional[_Union[Ask, _Mapping]] = ...) -> None: ...

class Begin(_message.Message):
    __slots__ = ("transaction_id", "budget_ms", "traceparent", "client", "direction", "tenant", "daemon_name", "mta_name", "received_at_ms", "stress", "mirrored", "explain")
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DAEMON_NAME_FIELD_NUMBER: _ClassVar[int]
    MTA_NAME_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    STRESS_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    transaction_id: bytes
    budget_ms: int
    traceparent: str
    client: _message_pb2.Client
    direction: _message_pb2.Direction
    tenant: str
    daemon_name: str
    mta_name: str
    received_at_ms: int
    stress: bool
    mirrored: bool
    explain: bool
    def __init__(self, transaction_id: _Optional[bytes] = ..., budget_ms: _Optional[int] = ..., traceparent: _Optional[str] = ..., client: _Optional[_Union[_message_pb2.Client, _Mapping]] = ..., direction: _Optional[_Union[_message_pb2.Direction, str]] = ..., tenant: _Optional[str] = ..., daemon_name: _Optional[str] = ..., mta_name: _Optional[str] = ..., received_at_ms: _Optional[int] = ..., stress: _Optional[bool] = ..., mirrored: _Optional[bool] = ..., explain: _Optional[bool] = ...) -> None: ...

class Mail(_message.Message):
    __slots__ = ("sender", "esmtp_args")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    ESMTP_ARGS_FIELD_NUMBER: _ClassVar[int]
    sender: bytes
    esmtp_args: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sender: _Optional[bytes] = ..., esmtp_args: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("stage", "budget_ms")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    stage: _message_pb2.Stage
    budget_ms: int
    def __init__(self, stage: _Optional[_Union[_message_pb2.Stage, str]] = ..., budget_ms: _Optional[int] = ...) -> None: ...

class NewRecipient(_message.Message):
    __slots__ = ("recipient", "budget_ms")
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    recipient: _message_pb2.Recipient
    budget_ms: int
    def __init__(self, recipient: _Optional[_Union[_message_pb2.Recipient, _Mapping]] = ..., budget_ms: _Optional[int] = ...) -> None: ...

class Headers(_message.Message):
    __slots__ = ("header_block", "queue_id")
    HEADER_BLOCK_FIELD_NUMBER: _ClassVar[int]
    QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
    header_block: bytes
    queue_id: str
    def __init__(self, header_block: _Optional[bytes] = ..., queue_id: _Optional[str] = ...) -> None: ...

class EndOfMessage(_message.Message):
    __slots__ = ("budget_ms", "queue_id", "refused_recipients", "macros")
    class MacrosEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
    REFUSED_RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    MACROS_FIELD_NUMBER: _ClassVar[int]
    budget_ms: int
    queue_id: str
    refused_recipients: _containers.RepeatedScalarFieldContainer[int]
    macros: _containers.ScalarMap[str, str]
    def __init__(self, budget_ms: _Optional[int] = ..., queue_id: _Optional[str] = ..., refused_recipients: _Optional[_Iterable[int]] = ..., macros: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Abort(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Keep(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("transaction", "recipient_verdict", "verdict", "credit", "refused", "stage_verdict", "early_stages")
    TRANSACTION_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_VERDICT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    STAGE_VERDICT_FIELD_NUMBER: _ClassVar[int]
    EARLY_STAGES_FIELD_NUMBER: _ClassVar[int]
    transaction: int
    recipient_verdict: _verdict_pb2.RecipientVerdict
    verdict: _verdict_pb2.Verdict
    credit: Credit
    refused: Refused
    stage_verdict: _verdict_pb2.StageVerdict
    early_stages: EarlyStages
    def __init__(self, transaction: _Optional[int] = ..., recipient_verdict: _Optional[_Union[_verdict_pb2.RecipientVerdict, _Mapping]] = ..., verdict: _Optional[_Union[_verdict_pb2.Verdict, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., stage_verdict: _Optional[_Union[_verdict_pb2.StageVerdict, _Mapping]] = ..., early_stages: _Optional[_Union[EarlyStages, _Mapping]] = ...) -> None: ...

class EarlyStages(_message.Message):
    __slots__ = ("stages",)
    STAGES_FIELD_NUMBER: _ClassVar[int]
    stages: _containers.RepeatedScalarFieldContainer[_message_pb2.Stage]
    def __init__(self, stages: _Optional[_Iterable[_Union[_message_pb2.Stage, str]]] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("body_bytes",)
    BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    body_bytes: int
    def __init__(self, body_bytes: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("reason", "detail")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Refused.Reason]
        REASON_OVERLOADED: _ClassVar[Refused.Reason]
        REASON_DRAINING: _ClassVar[Refused.Reason]
        REASON_MALFORMED: _ClassVar[Refused.Reason]
        REASON_INTERNAL: _ClassVar[Refused.Reason]
    REASON_UNSPECIFIED: Refused.Reason
    REASON_OVERLOADED: Refused.Reason
    REASON_DRAINING: Refused.Reason
    REASON_MALFORMED: Refused.Reason
    REASON_INTERNAL: Refused.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    reason: Refused.Reason
    detail: str
    def __init__(self, reason: _Optional[_Union[Refused.Reason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: _message_pb2.Message
    def __init__(self, message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("verdict",)
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    verdict: _verdict_pb2.Verdict
    def __init__(self, verdict: _Optional[_Union[_verdict_pb2.Verdict, _Mapping]] = ...) -> None: ...
