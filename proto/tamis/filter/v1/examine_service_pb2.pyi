from tamis.filter.v1 import message_pb2 as _message_pb2
from tamis.filter.v1 import verdict_pb2 as _verdict_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExamineRequest(_message.Message):
    __slots__ = ("tasks", "cancel")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    cancel: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., cancel: _Optional[_Iterable[int]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task", "stage", "budget_ms", "message", "body_id", "actors", "envelope_too", "known")
    TASK_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BODY_ID_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_TOO_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    task: int
    stage: _message_pb2.Stage
    budget_ms: int
    message: bytes
    body_id: bytes
    actors: _containers.RepeatedScalarFieldContainer[str]
    envelope_too: bool
    known: _containers.RepeatedCompositeFieldContainer[_verdict_pb2.Finding]
    def __init__(self, task: _Optional[int] = ..., stage: _Optional[_Union[_message_pb2.Stage, str]] = ..., budget_ms: _Optional[int] = ..., message: _Optional[bytes] = ..., body_id: _Optional[bytes] = ..., actors: _Optional[_Iterable[str]] = ..., envelope_too: _Optional[bool] = ..., known: _Optional[_Iterable[_Union[_verdict_pb2.Finding, _Mapping]]] = ...) -> None: ...

class ExamineResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[TaskResult]
    def __init__(self, results: _Optional[_Iterable[_Union[TaskResult, _Mapping]]] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("task", "findings", "timing", "actor")
    TASK_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    task: int
    findings: _containers.RepeatedCompositeFieldContainer[_verdict_pb2.Finding]
    timing: Timing
    actor: str
    def __init__(self, task: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[_verdict_pb2.Finding, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., actor: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("received_at_ns", "queue_us", "run_us", "batch_size", "lookups", "replica")
    RECEIVED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    RUN_US_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    received_at_ns: int
    queue_us: int
    run_us: int
    batch_size: int
    lookups: _containers.RepeatedCompositeFieldContainer[LookupTiming]
    replica: str
    def __init__(self, received_at_ns: _Optional[int] = ..., queue_us: _Optional[int] = ..., run_us: _Optional[int] = ..., batch_size: _Optional[int] = ..., lookups: _Optional[_Iterable[_Union[LookupTiming, _Mapping]]] = ..., replica: _Optional[str] = ...) -> None: ...

class LookupTiming(_message.Message):
    __slots__ = ("name", "start_us", "duration_us", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_US_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_us: int
    duration_us: int
    detail: str
    def __init__(self, name: _Optional[str] = ..., start_us: _Optional[int] = ..., duration_us: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...
