from tamis.admin.v1 import cell_pb2 as _cell_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Label(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LABEL_UNSPECIFIED: _ClassVar[Label]
    LABEL_SPAM: _ClassVar[Label]
    LABEL_HAM: _ClassVar[Label]
    LABEL_FORGET: _ClassVar[Label]

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_UNSPECIFIED: _ClassVar[Source]
    SOURCE_USER: _ClassVar[Source]
    SOURCE_TENANT: _ClassVar[Source]
    SOURCE_TRAP: _ClassVar[Source]
    SOURCE_OPERATOR: _ClassVar[Source]

class LearnOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEARN_OUTCOME_UNSPECIFIED: _ClassVar[LearnOutcome]
    LEARN_OUTCOME_ACCEPTED: _ClassVar[LearnOutcome]
    LEARN_OUTCOME_KNOWN: _ClassVar[LearnOutcome]
    LEARN_OUTCOME_TOO_MANY: _ClassVar[LearnOutcome]
    LEARN_OUTCOME_TOO_MUCH: _ClassVar[LearnOutcome]
    LEARN_OUTCOME_BACKLOG: _ClassVar[LearnOutcome]
LABEL_UNSPECIFIED: Label
LABEL_SPAM: Label
LABEL_HAM: Label
LABEL_FORGET: Label
SOURCE_UNSPECIFIED: Source
SOURCE_USER: Source
SOURCE_TENANT: Source
SOURCE_TRAP: Source
SOURCE_OPERATOR: Source
LEARN_OUTCOME_UNSPECIFIED: LearnOutcome
LEARN_OUTCOME_ACCEPTED: LearnOutcome
LEARN_OUTCOME_KNOWN: LearnOutcome
LEARN_OUTCOME_TOO_MANY: LearnOutcome
LEARN_OUTCOME_TOO_MUCH: LearnOutcome
LEARN_OUTCOME_BACKLOG: LearnOutcome

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("release", "cell")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    release: str
    cell: _cell_pb2.Cell
    def __init__(self, release: _Optional[str] = ..., cell: _Optional[_Union[_cell_pb2.Cell, _Mapping]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("transactions", "drained")
    TRANSACTIONS_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    transactions: int
    drained: bool
    def __init__(self, transactions: _Optional[int] = ..., drained: _Optional[bool] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainNodeRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class DrainNodeResponse(_message.Message):
    __slots__ = ("node", "processes", "outstanding")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    node: _cell_pb2.Node
    processes: int
    outstanding: int
    def __init__(self, node: _Optional[_Union[_cell_pb2.Node, _Mapping]] = ..., processes: _Optional[int] = ..., outstanding: _Optional[int] = ...) -> None: ...

class ResumeNodeRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class ResumeNodeResponse(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: _cell_pb2.Node
    def __init__(self, node: _Optional[_Union[_cell_pb2.Node, _Mapping]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ("config", "why")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    config: bytes
    why: str
    def __init__(self, config: _Optional[bytes] = ..., why: _Optional[str] = ...) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("generation", "needs_restart", "config_version", "resized")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RESTART_FIELD_NUMBER: _ClassVar[int]
    CONFIG_VERSION_FIELD_NUMBER: _ClassVar[int]
    RESIZED_FIELD_NUMBER: _ClassVar[int]
    generation: int
    needs_restart: _containers.RepeatedScalarFieldContainer[str]
    config_version: str
    resized: bool
    def __init__(self, generation: _Optional[int] = ..., needs_restart: _Optional[_Iterable[str]] = ..., config_version: _Optional[str] = ..., resized: _Optional[bool] = ...) -> None: ...

class StartRolloutRequest(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class StartRolloutResponse(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class WatchRolloutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRolloutResponse(_message.Message):
    __slots__ = ("rollout",)
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    rollout: _cell_pb2.Rollout
    def __init__(self, rollout: _Optional[_Union[_cell_pb2.Rollout, _Mapping]] = ...) -> None: ...

class StopRolloutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StopRolloutResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollBackRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollBackResponse(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class LearnRequest(_message.Message):
    __slots__ = ("message", "label", "tenant", "user", "source")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    message: bytes
    label: Label
    tenant: str
    user: bytes
    source: Source
    def __init__(self, message: _Optional[bytes] = ..., label: _Optional[_Union[Label, str]] = ..., tenant: _Optional[str] = ..., user: _Optional[bytes] = ..., source: _Optional[_Union[Source, str]] = ...) -> None: ...

class LearnResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: LearnOutcome
    def __init__(self, outcome: _Optional[_Union[LearnOutcome, str]] = ...) -> None: ...
