"""Which node an operator means. Pure."""

from collections.abc import Sequence

from cluster.admin.control import NodeReport, UnknownNode

_PREFIX_CHARS_MIN = 4


def find_node(nodes: Sequence[NodeReport], wanted: str) -> NodeReport:
    """The node of this id, name or address, or whose id begins so. Raises UnknownNode, which says what there is."""
    exact = [node for node in nodes if wanted and wanted in (node.node, node.name, node.address)]
    found = exact or [node for node in nodes if len(wanted) >= _PREFIX_CHARS_MIN and node.node.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownNode(f"{wanted!r} fits several nodes: {', '.join(node.node for node in found)}")
    raise UnknownNode(f"no node {wanted!r}; there are: {', '.join(f'{node.name} ({node.node})' for node in nodes)}")
