"""Edits on a message, as Postfix carries them out."""

from cli.edits import Mail, apply_edits
from wire.message import parse_header_block
from wire.milter import events as ev

FIELDS = parse_header_block(b"A: 1\r\nB: 2\r\n\tfolded\r\na: 3\r\n")


def edited(*edits: ev.Edit, leading_space: bool = True) -> Mail:
    return apply_edits(Mail(b"s@x", (b"r@x",), FIELDS, b"body"), edits, leading_space=leading_space)


def test_a_header_section_is_parsed_and_written_back() -> None:
    assert FIELDS == ((b"A", b" 1"), (b"B", b" 2\r\n\tfolded"), (b"a", b" 3"))
    assert edited().raw == b"A: 1\r\nB: 2\r\n\tfolded\r\na: 3\r\n\r\nbody"


def test_occurrences_count_without_regard_to_case() -> None:
    assert edited(ev.ChangeHeader(2, b"a", b" x")).fields[2] == (b"a", b" x")
    assert edited(ev.ChangeHeader(2, b"A", b"")).fields == FIELDS[:2]


def test_a_deleted_field_no_longer_counts() -> None:
    assert edited(ev.ChangeHeader(1, b"A", b""), ev.ChangeHeader(1, b"A", b"")).fields == FIELDS[1:2]


def test_occurrence_zero_is_the_first() -> None:
    assert edited(ev.ChangeHeader(0, b"A", b" x")).fields[0] == (b"A", b" x")


def test_changing_a_field_that_is_not_there_appends_it_and_deleting_it_does_nothing() -> None:
    assert edited(ev.ChangeHeader(3, b"A", b" x")).fields == (*FIELDS, (b"A", b" x"))
    assert edited(ev.ChangeHeader(3, b"A", b"")).fields == FIELDS


def test_inserting_beyond_the_end_appends() -> None:
    assert edited(ev.InsertHeader(99, b"X", b" y")).fields == (*FIELDS, (b"X", b" y"))


def test_values_get_a_space_where_they_bring_none() -> None:
    assert edited(ev.AddHeader(b"X", b"y\n z"), leading_space=False).fields[-1] == (b"X", b" y\r\n z")
    assert edited(ev.AddHeader(b"X", b"y"), leading_space=True).fields[-1] == (b"X", b"y")


def test_the_body_is_replaced_by_all_its_pieces_or_kept() -> None:
    assert edited(ev.ReplaceBody(b"a"), ev.ReplaceBody(b"b")).body == b"ab"
    assert edited(ev.ReplaceBody(b"")).body == b""
    assert edited(ev.Quarantine(b"x")).body == b"body"
