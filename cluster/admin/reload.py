"""What a new configuration file changes in a running cell. Pure.

Strategy: the file is checked whole and compared with what runs. What processes are built from becomes a rollout, sizes
of pools alone need none; what the cell itself hangs on is named, since it holds from the next start on only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from actors.config import JudgementConfig
from cluster.admin.control import Change, Settings
from cluster.config import ClusterConfig
from wire.config import ConfigError, Section, parse, version_of
from wire.trace import TraceConfig

CONFIG_BYTES_MAX = 1 << 20
_FIXED = ("listen", "shared_port", "tls", "admin", "object_store_mb")
"""Keys of [cluster] that more hangs on than the processes: gateways, the supervisor, Ray."""


class CellRoot(JudgementConfig, frozen=True, forbid_unknown_fields=False):
    """What a cell reads of the one file for all processes; other known sections are theirs."""

    cluster: ClusterConfig = ClusterConfig()
    trace: TraceConfig = TraceConfig()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    change: Change | None
    """None: the cell has these settings already."""
    needs_restart: tuple[str, ...]
    """Keys that differ otherwise, "[cluster] listen"."""
    config_version: str
    """`version_of` the judgement that the file asks for."""


def plan_reload(content: bytes, why: str, running: Settings) -> Plan:
    """The way from what runs to what the file says. Raises ConfigError, one line with line and reason."""
    if len(content) > CONFIG_BYTES_MAX:
        raise ConfigError(f"the file is above {CONFIG_BYTES_MAX} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"config:{line}: not UTF-8") from None
    root = parse(text, CellRoot)
    judgement = _judgement(root, running)
    pools = root.cluster.pools if root.cluster.pools != running.cluster.pools else None
    cluster = _with(root.cluster, running.cluster, *_FIXED, "pools")
    change = Change(
        why,
        judgement if judgement != running.judgement else None,
        pools,
        cluster if cluster != running.cluster else None,
    )
    needs_restart = (
        *_differences("cluster", running.cluster, _with(running.cluster, root.cluster, *_FIXED)),
        *_differences("trace", running.trace, root.trace),
    )
    return Plan(None if change == Change(why) else change, needs_restart, version_of(judgement))


def _with(config: ClusterConfig, other: ClusterConfig, *keys: str) -> ClusterConfig:
    """The settings, with these keys as the other has them."""
    changed: ClusterConfig = msgspec.structs.replace(config, **{key: getattr(other, key) for key in keys})
    return changed


def _judgement(root: CellRoot, running: Settings) -> JudgementConfig:
    sections = {name: getattr(root, name) for name in JudgementConfig.__struct_fields__}
    if not root.redis.url:
        # `tamis up` brought its own Valkey where the file names none.
        sections["redis"] = msgspec.structs.replace(root.redis, url=running.judgement.redis.url)
    return JudgementConfig(**sections)


def _differences(table: str, running: Section, wanted: Section) -> Iterator[str]:
    """Keys whose value is another one, those of the tables inside included."""
    for key in wanted.__struct_fields__:
        old, new = getattr(running, key), getattr(wanted, key)
        if old == new or _left_open(new):
            continue
        if isinstance(new, Section):
            yield from _differences(f"{table}.{key}", old, new)
        else:
            yield f"[{table}] {key}"


def _left_open(value: object) -> bool:
    """Whether the file leaves it to `tamis up`, which found a free port or made a file of its own."""
    return isinstance(value, str) and (not value or value.endswith(":0"))
