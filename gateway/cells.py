"""The cells of the config, and the places of their ingresses once names are looked up. Pure.

Strategy: the simple list `[gateway] ingress` is one cell. A cell's weight is its share among the cells, however many
endpoints it has: each endpoint gets its part of it. Answers of the DNS (RFC 2782) bring weight and priority within
their cell; what is listed has weight 1 and priority 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.balance import Place
from wire.config import Section

SRV = "srv:"
"""Before a name whose SRV records say where the ingresses are."""
SRV_WEIGHT_ZERO = 0.1
"""RFC 2782: records with weight 0 should have a very small chance beside others, and equal ones among themselves."""


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """One record of an answer."""

    priority: int
    weight: int
    host: str
    port: int

    @property
    def target(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"


class CellConfig(Section, frozen=True):
    """[[gateway.cells]]: one scoring cell each, instead of `ingress`, when there are several."""

    name: str
    """How logs call it."""
    ingress: tuple[str, ...]
    """host:port of its ingresses, or srv:NAME: what the SRV records of the name say, asked again as their TTL ends."""
    weight: float = 1.0
    """The cell's share of the mail among cells of the same priority."""
    priority: int = 0
    """Lower first: the cell gets mail only while no ingress of a cell with a lower number can be used."""

    def __post_init__(self) -> None:
        if not self.name or not self.ingress:
            raise ValueError("a cell needs a `name` and at least one `ingress`")
        if not 0 < self.weight <= 1000:
            raise ValueError("`weight` must be above 0 and at most 1000")


def parse_host_port(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`. Raises ValueError."""
    host, _, port_text = text.rpartition(":")
    if not host or not (port_text.isascii() and port_text.isdigit()) or int(port_text[:6]) > 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port_text)


def check_ingress(address: str) -> None:
    """Raises ValueError unless it is host:port or srv:NAME."""
    if not address.startswith(SRV):
        parse_host_port(address)
    elif not address.removeprefix(SRV).strip("."):
        raise ValueError(f"{address!r} names nothing to look up")


def srv_names(cells: Sequence[CellConfig]) -> list[str]:
    """What has to be looked up, each name once."""
    addresses = (address for cell in cells for address in cell.ingress)
    return list(dict.fromkeys(address.removeprefix(SRV) for address in addresses if address.startswith(SRV)))


def places(cells: Sequence[CellConfig], answers: Mapping[str, Sequence[SrvRecord]]) -> list[Place]:
    """Where ingresses are, given the answers by name; an address that is named twice counts where it comes first."""
    found: dict[str, Place] = {}
    for cell in cells:
        of_cell: dict[str, SrvRecord | None] = {}
        for address in cell.ingress:
            if address.startswith(SRV):
                records = answers.get(address.removeprefix(SRV), ())
                of_cell.update({record.target: record for record in records if record.target not in found})
            elif address not in found:
                of_cell[address] = None
        weights = {target: _weight(record) for target, record in of_cell.items()}
        for target, record in of_cell.items():
            priority = record.priority if record is not None else 0
            # The whole of its priority is what can be in use at the same time.
            whole = sum(weights[other] for other, its in of_cell.items() if (its.priority if its else 0) == priority)
            share = cell.weight * weights[target] / whole
            found[target] = Place(target, cell.name, cell.priority, priority, share)
    return list(found.values())


def _weight(record: SrvRecord | None) -> float:
    return 1.0 if record is None else max(SRV_WEIGHT_ZERO, record.weight)
