import pytest

from gateway.balance import Place
from gateway.cells import CellConfig, SrvRecord, places, srv_names


def cell(name: str, *ingress: str, weight: float = 1.0, priority: int = 0) -> CellConfig:
    return CellConfig(name=name, ingress=ingress, weight=weight, priority=priority)


def test_a_cells_weight_is_shared_by_its_endpoints() -> None:
    found = places([cell("north", "a:1", "b:1", weight=3.0), cell("south", "c:1", priority=1)], {})
    assert found == [
        Place("a:1", "north", 0, 0, 1.5),
        Place("b:1", "north", 0, 0, 1.5),
        Place("c:1", "south", 1, 0, 1.0),
    ]


def test_srv_records_bring_weight_and_priority_within_their_cell() -> None:
    records = [SrvRecord(10, 60, "a", 1), SrvRecord(10, 20, "b", 1), SrvRecord(20, 0, "c", 1), SrvRecord(20, 0, "d", 1)]
    found = places([cell("north", "srv:_tamis._tcp.north", weight=4.0)], {"_tamis._tcp.north": records})
    assert {place.target: (place.priority, place.weight) for place in found} == {
        "a:1": (10, 3.0),
        "b:1": (10, 1.0),
        "c:1": (20, 2.0),
        "d:1": (20, 2.0),
    }


def test_a_record_of_weight_0_has_a_small_chance_beside_others() -> None:
    records = [SrvRecord(0, 9, "a", 1), SrvRecord(0, 0, "b", 1)]
    heavy, light = places([cell("north", "srv:n")], {"n": records})
    assert 0 < light.weight < heavy.weight / 50


def test_a_name_without_an_answer_yet_has_no_place_and_one_address_has_one() -> None:
    cells = [cell("north", "srv:n", "a:1"), cell("south", "srv:n", "srv:m")]
    assert places(cells, {}) == [Place("a:1", "north")]
    found = places(cells, {"m": [SrvRecord(0, 1, "a", 1), SrvRecord(0, 1, "b", 1)]})
    assert [(place.target, place.cell) for place in found] == [("a:1", "north"), ("b:1", "south")]
    assert srv_names(cells) == ["n", "m"]


@pytest.mark.parametrize("fields", [{"name": ""}, {"ingress": ()}, {"weight": 0.0}, {"weight": 1001.0}])
def test_a_cell_has_a_name_an_ingress_and_a_weight(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs|weight"):
        CellConfig(**({"name": "north", "ingress": ("a:1",)} | fields))  # type: ignore[arg-type]
