from tamis.filter.v1 import message_pb2 as _message_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_ACCEPT: _ClassVar[Action]
    ACTION_ADD_HEADER: _ClassVar[Action]
    ACTION_REWRITE_SUBJECT: _ClassVar[Action]
    ACTION_TEMPFAIL: _ClassVar[Action]
    ACTION_QUARANTINE: _ClassVar[Action]
    ACTION_DISCARD: _ClassVar[Action]
    ACTION_REJECT: _ClassVar[Action]
ACTION_UNSPECIFIED: Action
ACTION_ACCEPT: Action
ACTION_ADD_HEADER: Action
ACTION_REWRITE_SUBJECT: Action
ACTION_TEMPFAIL: Action
ACTION_QUARANTINE: Action
ACTION_DISCARD: Action
ACTION_REJECT: Action

class Finding(_message.Message):
    __slots__ = ("actor", "name", "outcome", "score", "detail", "ms", "facts")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    actor: str
    name: str
    outcome: str
    score: float
    detail: str
    ms: float
    facts: _containers.ScalarMap[str, str]
    def __init__(self, actor: _Optional[str] = ..., name: _Optional[str] = ..., outcome: _Optional[str] = ..., score: _Optional[float] = ..., detail: _Optional[str] = ..., ms: _Optional[float] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("code", "enhanced", "text")
    CODE_FIELD_NUMBER: _ClassVar[int]
    ENHANCED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    code: int
    enhanced: str
    text: str
    def __init__(self, code: _Optional[int] = ..., enhanced: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Edit(_message.Message):
    __slots__ = ("add_header", "insert_header", "change_header", "delete_header", "replace_body", "change_sender", "add_recipient", "delete_recipient")
    ADD_HEADER_FIELD_NUMBER: _ClassVar[int]
    INSERT_HEADER_FIELD_NUMBER: _ClassVar[int]
    CHANGE_HEADER_FIELD_NUMBER: _ClassVar[int]
    DELETE_HEADER_FIELD_NUMBER: _ClassVar[int]
    REPLACE_BODY_FIELD_NUMBER: _ClassVar[int]
    CHANGE_SENDER_FIELD_NUMBER: _ClassVar[int]
    ADD_RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    DELETE_RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    add_header: AddHeader
    insert_header: InsertHeader
    change_header: ChangeHeader
    delete_header: DeleteHeader
    replace_body: bytes
    change_sender: ChangeSender
    add_recipient: AddRecipient
    delete_recipient: bytes
    def __init__(self, add_header: _Optional[_Union[AddHeader, _Mapping]] = ..., insert_header: _Optional[_Union[InsertHeader, _Mapping]] = ..., change_header: _Optional[_Union[ChangeHeader, _Mapping]] = ..., delete_header: _Optional[_Union[DeleteHeader, _Mapping]] = ..., replace_body: _Optional[bytes] = ..., change_sender: _Optional[_Union[ChangeSender, _Mapping]] = ..., add_recipient: _Optional[_Union[AddRecipient, _Mapping]] = ..., delete_recipient: _Optional[bytes] = ...) -> None: ...

class AddHeader(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    value: bytes
    def __init__(self, name: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class InsertHeader(_message.Message):
    __slots__ = ("index", "name", "value")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: bytes
    value: bytes
    def __init__(self, index: _Optional[int] = ..., name: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class ChangeHeader(_message.Message):
    __slots__ = ("name", "occurrence", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OCCURRENCE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    occurrence: int
    value: bytes
    def __init__(self, name: _Optional[bytes] = ..., occurrence: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...

class DeleteHeader(_message.Message):
    __slots__ = ("name", "occurrence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OCCURRENCE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    occurrence: int
    def __init__(self, name: _Optional[bytes] = ..., occurrence: _Optional[int] = ...) -> None: ...

class ChangeSender(_message.Message):
    __slots__ = ("address", "esmtp_args")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ESMTP_ARGS_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    esmtp_args: bytes
    def __init__(self, address: _Optional[bytes] = ..., esmtp_args: _Optional[bytes] = ...) -> None: ...

class AddRecipient(_message.Message):
    __slots__ = ("address", "esmtp_args")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ESMTP_ARGS_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    esmtp_args: bytes
    def __init__(self, address: _Optional[bytes] = ..., esmtp_args: _Optional[bytes] = ...) -> None: ...

class RecipientVerdict(_message.Message):
    __slots__ = ("recipient", "action", "reply", "reasons")
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    recipient: int
    action: Action
    reply: Reply
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, recipient: _Optional[int] = ..., action: _Optional[_Union[Action, str]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class StageVerdict(_message.Message):
    __slots__ = ("stage", "action", "reply", "reasons")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    stage: _message_pb2.Stage
    action: Action
    reply: Reply
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stage: _Optional[_Union[_message_pb2.Stage, str]] = ..., action: _Optional[_Union[Action, str]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("action", "reply", "score", "reasons", "edits", "degraded", "missing", "findings", "traced", "quarantine_reason")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    EDITS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    TRACED_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    action: Action
    reply: Reply
    score: float
    reasons: _containers.RepeatedScalarFieldContainer[str]
    edits: _containers.RepeatedCompositeFieldContainer[Edit]
    degraded: bool
    missing: _containers.RepeatedScalarFieldContainer[str]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    traced: bool
    quarantine_reason: str
    def __init__(self, action: _Optional[_Union[Action, str]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., score: _Optional[float] = ..., reasons: _Optional[_Iterable[str]] = ..., edits: _Optional[_Iterable[_Union[Edit, _Mapping]]] = ..., degraded: _Optional[bool] = ..., missing: _Optional[_Iterable[str]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., traced: _Optional[bool] = ..., quarantine_reason: _Optional[str] = ...) -> None: ...
