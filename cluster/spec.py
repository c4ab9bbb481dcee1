"""What the processes of a cell are built from, and how it travels: values between processes of two releases.

Strategy: a rolling upgrade has processes of two releases talk to each other, and Ray starts a process that died anew
from what the release before gave it. So every value between the supervisor and the processes travels as MessagePack
with names: what the reader does not know is left out, what it misses has its default. (A pickled class has neither.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from actors.actor import Actor
from actors.config import JudgementConfig
from actors.model import Stage
from actors.ports import Clock
from actors.registry import build_actors, stages_of
from cluster.config import ClusterConfig
from wire.trace import TraceConfig

T = TypeVar("T")
ActorFactory = Callable[[Sequence[str], JudgementConfig, Clock], Sequence[Actor]]
StagesOf = Callable[[str, JudgementConfig], frozenset[Stage]]


@dataclass(frozen=True, slots=True)
class CellSpec:
    """Everything that the processes of a cell are built from."""

    cluster: ClusterConfig
    judgement: JudgementConfig
    trace: TraceConfig
    node: str
    """Ray's id of the node where the cell was started: there the ingresses listen as [cluster] listen says."""
    build: ActorFactory = build_actors
    stages_of: StagesOf = stages_of
    """When the actor of a pool is asked."""

    def packed(self) -> bytes:
        """As bytes, without the functions."""
        return pack({"cluster": self.cluster, "judgement": self.judgement, "trace": self.trace, "node": self.node})

    @staticmethod
    def unpacked(data: bytes, build: ActorFactory = build_actors, stages_of: StagesOf = stages_of) -> "CellSpec":
        """The spec of another release, as far as this one knows it. Raises msgspec.ValidationError."""
        raw = msgspec.msgpack.decode(data)
        return CellSpec(
            convert_known(raw["cluster"], ClusterConfig),
            convert_known(raw["judgement"], JudgementConfig),
            convert_known(raw["trace"], TraceConfig),
            str(raw["node"]),
            build,
            stages_of,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """What one process is told at its birth."""

    name: str
    spec: bytes
    """CellSpec, packed."""
    node: str
    """Ray's id of the node it runs on."""
    actors: tuple[str, ...] = ()
    """Of a replica."""
    address: str = ""
    """IP that others reach it at."""
    port: int = 0
    """Of an ingress."""


def pack(value: object) -> bytes:
    """Structs, dataclasses, enums and plain values as bytes."""
    return msgspec.msgpack.encode(value)


def unpack(data: bytes, kind: type[T]) -> T:
    """What `pack` made, of this release or another one. Raises msgspec.ValidationError."""
    return convert_known(msgspec.msgpack.decode(data), kind)


def convert_known(data: object, kind: type[T]) -> T:
    """Plain values as `kind`; fields that it does not know are left out, also where unknown ones are refused.

    Raises msgspec.ValidationError.
    """
    return msgspec.convert(_known(data, msgspec.inspect.type_info(kind)), type=kind)


def _known(data: Any, info: msgspec.inspect.Type) -> Any:
    match info:
        case msgspec.inspect.StructType(fields=fields) | msgspec.inspect.DataclassType(fields=fields):
            if isinstance(data, dict):
                kinds = {field.encode_name: field.type for field in fields}
                return {key: _known(value, kinds[key]) for key, value in data.items() if key in kinds}
        case msgspec.inspect.DictType(value_type=kind) if isinstance(data, dict):
            return {key: _known(value, kind) for key, value in data.items()}
        case msgspec.inspect.VarTupleType(item_type=kind) | msgspec.inspect.ListType(item_type=kind):
            if isinstance(data, list):
                return [_known(value, kind) for value in data]
        case msgspec.inspect.UnionType(types=kinds):
            for kind in kinds:
                data = _known(data, kind)
    return data
