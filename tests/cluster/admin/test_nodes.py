import pytest

from cluster.admin.control import UnknownNode
from cluster.admin.nodes import find_node
from tests.cluster.admin.fake_cell import REPORT


@pytest.mark.parametrize("wanted", ["south", "10.0.0.2", "a1b2ffffff", "a1b2f"])
def test_a_node_is_known_by_name_address_id_and_the_beginning_of_the_id(wanted: str) -> None:
    assert find_node(REPORT.nodes, wanted).name == "south"


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ("east", "no node 'east'; there are: north (a1b2c3d4e5), south (a1b2ffffff)"),
        ("", "no node ''"),
        ("a1b", "no node 'a1b'"),
        ("a1b2", "'a1b2' fits several nodes: a1b2c3d4e5, a1b2ffffff"),
    ],
)
def test_any_other_word_is_refused_with_what_there_is(wanted: str, complaint: str) -> None:
    with pytest.raises(UnknownNode) as caught:
        find_node(REPORT.nodes, wanted)
    assert complaint in str(caught.value)
