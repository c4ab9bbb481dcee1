import contextlib

import pytest
from dkim.util import InvalidTagValueList, parse_tag_value
from hypothesis import given
from hypothesis import strategies as st

from actors.dkim.tags import TagListError, parse_tags


def test_tags_and_values_are_stripped_and_keep_their_order() -> None:
    assert list(parse_tags(b" v=1 ;\r\n\ta = rsa-sha256; b=ab\r\n cd==;").items()) == [
        (b"v", b"1"),
        (b"a", b"rsa-sha256"),
        (b"b", b"ab\r\n cd=="),
    ]
    assert parse_tags(b"") == {}


@pytest.mark.parametrize("text", [b"v", b"v=1;;a=2", b"=1", b"1=2", b"v=1;v=2", b"v=1; ;"])
def test_what_is_no_list_is_refused(text: bytes) -> None:
    with pytest.raises(TagListError):
        parse_tags(text)


@given(st.lists(st.sampled_from([b"v", b"a1", b"_", b"=", b";", b" ", b"\r\n", b"\xff", b"1"])).map(b"".join))
def test_it_reads_what_dkimpy_reads(text: bytes) -> None:
    theirs = ours = None
    with contextlib.suppress(InvalidTagValueList):
        theirs = parse_tag_value(text)
    with contextlib.suppress(TagListError):
        ours = parse_tags(text)
    assert ours == theirs
