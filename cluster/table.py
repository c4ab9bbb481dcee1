"""Which replicas there are: the value that the supervisor pushes to every ingress."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from actors.model import Stage
from cluster.spec import convert_known


@dataclass(frozen=True, slots=True)
class Replica:
    """One process that examines messages."""

    name: str
    """Unique in the cell and kept across restarts, "classifier-0"."""
    actors: tuple[str, ...]
    """The actors it runs, one of each pool that it belongs to."""
    address: str
    """host:port of its Examine streams; a restarted replica has another one."""
    node: str
    """Ray's id of the node it runs on."""
    draining: bool = False
    """It finishes what it has and gets nothing new."""
    local: str = ""
    """host:port for its own node, by plain streams; those to `address` are encrypted then. The same as `address`: its
    node has no certificates, and others stay away. Empty: on one machine, where `address` is for all and plain."""
    model: str = ""
    """Version of the model that one of its actors judges by; empty: none does."""


@dataclass(frozen=True, slots=True)
class Table:
    """Every pool that should be asked, and the replicas that can be reached now."""

    stages: Mapping[str, frozenset[Stage]] = field(default_factory=dict)
    """Pool to the stages at which it is asked; a pool without a replica stays here and its tasks wait."""
    replicas: tuple[Replica, ...] = ()
    draining: bool = False
    """The cell takes no new transactions: an operator drains it."""

    @staticmethod
    def unpacked(data: bytes) -> "Table":
        """What `cluster.spec.pack` made, of another release too: a stage that this one does not know is not asked at.

        Raises msgspec.ValidationError.
        """
        raw = msgspec.msgpack.decode(data)
        known = frozenset(Stage)
        raw["stages"] = {pool: [stage for stage in stages if stage in known] for pool, stages in raw["stages"].items()}
        return convert_known(raw, Table)
