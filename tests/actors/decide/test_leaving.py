"""actors/decide/leaving.py: the header section after edits, as gateway and MTA make it of them."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.decide import leaving_header_block, new_body
from actors.model import AddHeader, ChangeHeader, DeleteHeader, Edit, InsertHeader, ReplaceBody
from cli.edits import Mail, apply_edits
from cluster.codec import edit_to_proto
from gateway.replies import for_verdict
from tamis.filter.v1 import verdict_pb2
from wire.message import parse_header_block
from wire.milter import constants as c
from wire.milter import events as ev

BLOCK = b"A: 1\r\nB: 2\r\na:\t3\r\n folded\r\nC:4\r\n"


@pytest.mark.parametrize(
    ("edits", "block"),
    [
        ([AddHeader(b"D", b"5")], BLOCK + b"D: 5\r\n"),
        ([InsertHeader(0, b"D", b"x\r\n\ty")], b"D: x\r\n\ty\r\n" + BLOCK),
        ([InsertHeader(1, b"D", b"5"), InsertHeader(0, b"E", b"6")], b"E: 6\r\nA: 1\r\nD: 5\r\n" + BLOCK[6:]),
        ([InsertHeader(99, b"D", b"5")], BLOCK + b"D: 5\r\n"),
        ([DeleteHeader(b"A", 2), DeleteHeader(b"a", 1)], b"B: 2\r\nC:4\r\n"),
        ([DeleteHeader(b"a", 1), DeleteHeader(b"A", 2)], b"B: 2\r\nC:4\r\n"),
        ([DeleteHeader(b"A", 3)], BLOCK),
        ([ChangeHeader(b"A", 2, b"new")], b"A: 1\r\nB: 2\r\nA: new\r\nC:4\r\n"),
        ([ChangeHeader(b"X", 1, b"new")], BLOCK + b"X: new\r\n"),
        ([AddHeader(b"A", b"9"), DeleteHeader(b"A", 2)], b"A: 1\r\nB: 2\r\nC:4\r\nA: 9\r\n"),
        ([], BLOCK),
    ],
)
def test_edits_are_made(edits: Sequence[Edit], block: bytes) -> None:
    assert leaving_header_block(BLOCK, edits) == block


def test_a_new_body_is_found_even_an_empty_one() -> None:
    assert new_body([AddHeader(b"D", b"5"), ReplaceBody(b"")]) == b""
    assert new_body([AddHeader(b"D", b"5")]) is None


# --- the oracle: what the gateway tells the MTA, and what an MTA makes of that ----------------------------------------

_names = st.sampled_from([b"A", b"a", b"Subject", b"X-Spam-Flag", b"x-spam-flag"])
_values = st.sampled_from([b"", b"v", b"two words", b"x\r\n\ty", b"x\n y", b" blank", b"\xff"])
_occurrences = st.integers(1, 4)
_edits = st.lists(
    st.one_of(
        st.builds(AddHeader, _names, _values),
        st.builds(InsertHeader, st.integers(0, 9), _names, _values),
        st.builds(ChangeHeader, _names, _occurrences, _values.filter(bool)),
        st.builds(DeleteHeader, _names, _occurrences),
    ),
    max_size=8,
    unique_by=lambda edit: (edit.name.lower(), edit.occurrence) if isinstance(edit, DeleteHeader) else object(),
)
_blocks = st.lists(st.tuples(_names, st.sampled_from([b" 1", b"2", b"\tx\r\n y", b" "])), max_size=7).map(
    lambda fields: b"".join(b"%b:%b\r\n" % one for one in fields)
)


@settings(deadline=None)
@given(_blocks, _edits, st.booleans())
def test_it_is_what_gateway_and_mta_make_of_the_same_verdict(
    block: bytes,
    edits: list[Edit],
    leading_space: bool,  # noqa: FBT001
) -> None:
    steps = c.SMFIP_HDR_LEADSPC if leading_space else 0
    negotiated = ev.Negotiated(6, c.SMFIF_ADDHDRS | c.SMFIF_CHGHDRS, steps)
    verdict = verdict_pb2.Verdict(action=verdict_pb2.ACTION_ACCEPT, edits=map(edit_to_proto, edits))
    *replies, _ = for_verdict(verdict, negotiated)
    before = Mail(b"", (), parse_header_block(block), b"")
    after = apply_edits(before, replies, leading_space=leading_space)  # type: ignore[arg-type]
    assert leaving_header_block(block, edits) + b"\r\n" == after.raw
