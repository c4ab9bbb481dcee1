from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_STATE_UNSPECIFIED: _ClassVar[NodeState]
    NODE_STATE_UP: _ClassVar[NodeState]
    NODE_STATE_DRAINING: _ClassVar[NodeState]
    NODE_STATE_DRAINED: _ClassVar[NodeState]
    NODE_STATE_AWAY: _ClassVar[NodeState]

class ProcessState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROCESS_STATE_UNSPECIFIED: _ClassVar[ProcessState]
    PROCESS_STATE_STARTING: _ClassVar[ProcessState]
    PROCESS_STATE_PROVING: _ClassVar[ProcessState]
    PROCESS_STATE_UP: _ClassVar[ProcessState]
    PROCESS_STATE_DRAINING: _ClassVar[ProcessState]
    PROCESS_STATE_DOWN: _ClassVar[ProcessState]

class RolloutState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLLOUT_STATE_UNSPECIFIED: _ClassVar[RolloutState]
    ROLLOUT_STATE_RUNNING: _ClassVar[RolloutState]
    ROLLOUT_STATE_STOPPED: _ClassVar[RolloutState]
    ROLLOUT_STATE_DONE: _ClassVar[RolloutState]
NODE_STATE_UNSPECIFIED: NodeState
NODE_STATE_UP: NodeState
NODE_STATE_DRAINING: NodeState
NODE_STATE_DRAINED: NodeState
NODE_STATE_AWAY: NodeState
PROCESS_STATE_UNSPECIFIED: ProcessState
PROCESS_STATE_STARTING: ProcessState
PROCESS_STATE_PROVING: ProcessState
PROCESS_STATE_UP: ProcessState
PROCESS_STATE_DRAINING: ProcessState
PROCESS_STATE_DOWN: ProcessState
ROLLOUT_STATE_UNSPECIFIED: RolloutState
ROLLOUT_STATE_RUNNING: RolloutState
ROLLOUT_STATE_STOPPED: RolloutState
ROLLOUT_STATE_DONE: RolloutState

class Cell(_message.Message):
    __slots__ = ("ready", "draining", "generation", "config_version", "nodes", "processes", "pools", "rollout", "problems", "counters")
    class ProblemsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    READY_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    draining: bool
    generation: int
    config_version: str
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    rollout: Rollout
    problems: _containers.ScalarMap[str, str]
    counters: _containers.ScalarMap[str, int]
    def __init__(self, ready: _Optional[bool] = ..., draining: _Optional[bool] = ..., generation: _Optional[int] = ..., config_version: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ..., pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ..., problems: _Optional[_Mapping[str, str]] = ..., counters: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("node", "name", "address", "state", "cores", "head", "problem")
    NODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    node: str
    name: str
    address: str
    state: NodeState
    cores: float
    head: bool
    problem: str
    def __init__(self, node: _Optional[str] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[_Union[NodeState, str]] = ..., cores: _Optional[float] = ..., head: _Optional[bool] = ..., problem: _Optional[str] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("name", "actors", "node", "address", "state", "generation", "outstanding", "age_s", "restarts", "memory_bytes", "problem", "model")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    actors: _containers.RepeatedScalarFieldContainer[str]
    node: str
    address: str
    state: ProcessState
    generation: int
    outstanding: int
    age_s: float
    restarts: int
    memory_bytes: int
    problem: str
    model: str
    def __init__(self, name: _Optional[str] = ..., actors: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[_Union[ProcessState, str]] = ..., generation: _Optional[int] = ..., outstanding: _Optional[int] = ..., age_s: _Optional[float] = ..., restarts: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., problem: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class Pool(_message.Message):
    __slots__ = ("actor", "up", "wanted", "why", "queue_delay_ms", "outstanding")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    actor: str
    up: int
    wanted: int
    why: str
    queue_delay_ms: float
    outstanding: int
    def __init__(self, actor: _Optional[str] = ..., up: _Optional[int] = ..., wanted: _Optional[int] = ..., why: _Optional[str] = ..., queue_delay_ms: _Optional[float] = ..., outstanding: _Optional[int] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("generation", "state", "why", "replaced", "total", "problem", "watching")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    WATCHING_FIELD_NUMBER: _ClassVar[int]
    generation: int
    state: RolloutState
    why: str
    replaced: int
    total: int
    problem: str
    watching: str
    def __init__(self, generation: _Optional[int] = ..., state: _Optional[_Union[RolloutState, str]] = ..., why: _Optional[str] = ..., replaced: _Optional[int] = ..., total: _Optional[int] = ..., problem: _Optional[str] = ..., watching: _Optional[str] = ...) -> None: ...
