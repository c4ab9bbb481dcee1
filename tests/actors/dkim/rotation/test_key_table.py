"""actors/dkim/rotation/key_table.py: one entry changes, and nothing else."""

import os.path

import pytest

from actors.dkim.rotation.key_table import KeyTableView, pointed_to
from actors.dkim.rotation.state import KeyPlace
from actors.dkim.signing.tables import Entry, TableError, parse_entries

OLD, NEW = KeyPlace("old", "/k/old"), KeyPlace("202610a", "/k/example.org.202610a.private")
TABLE = (
    "# keys of example.org:old:/k/old\r\n"
    "\n"
    "other  example.net:old:/k/old\n"
    " \tR\texample.org : old : /k/old  # made by hand \t\r\n"
    "r example.org:old:/k/old\n"
    "any %:old:/k/%"
)


def test_one_entry_changes_and_blanks_comments_line_ends_and_other_entries_stay() -> None:
    after = pointed_to(TABLE, "r", OLD, NEW)
    changed = " \tR\texample.org :202610a:/k/example.org.202610a.private  # made by hand \t\r\n"
    assert after == TABLE.replace(" \tR\texample.org : old : /k/old  # made by hand \t\r\n", changed)
    assert pointed_to(after, "r", OLD, NEW) == after


def test_an_entry_that_names_itself_in_its_value_is_found_where_it_stands() -> None:
    before = "example.org example.org:old:/k/old # example.org:old:/k/old\n"
    after = "example.org example.org:202610a:/k/example.org.202610a.private # example.org:old:/k/old\n"
    assert pointed_to(before, "example.org", OLD, NEW) == after


@pytest.mark.parametrize("text", ["", "# r example.org:old:/k/old\n", "r example.org:new:/k/new\n", "r\n"])
def test_an_entry_that_is_not_there_or_not_as_it_was_is_left_alone(text: str) -> None:
    with pytest.raises(TableError):
        pointed_to(text, "r", OLD, NEW)


@pytest.mark.parametrize("path", ["/k/a#b", "/k/a\nb", "/k/a "])
def test_a_path_that_a_table_cannot_hold_is_refused(path: str) -> None:
    with pytest.raises(TableError):
        pointed_to(TABLE, "r", OLD, KeyPlace("s", path))


def test_who_uses_a_record_and_a_key_counts_those_for_any_domain_too() -> None:
    view = KeyTableView(parse_entries(TABLE, ""))
    assert [entry.name for entry in view.entries] == ["other", "R"]
    assert view.users_of_record("example.org", "old") == ["R", "any"]
    assert view.users_of_key("example.org", "/k//old") == ["other", "R"]
    assert view.users_of_key("example.org", "/k/example.org") == ["any"]
    assert view.selectors("example.org") == {"old"}
    assert view.left_out.keys() == {"any"}


def test_who_signs_beside_the_table_is_a_user_and_no_entry() -> None:
    view = KeyTableView([Entry("r", "example.org:new:/k/new")], [Entry("seal_key", "Example.org:old:/k/old")])
    assert [entry.name for entry in view.entries] == ["r"]
    assert view.entry("seal_key") is None
    assert view.left_out == {}
    assert view.users_of_record("example.org", "old") == ["seal_key"]
    assert view.users_of_key("example.org", "/k/old") == ["seal_key"]
    assert view.selectors("example.org") == {"new", "old"}


def test_selectors_are_compared_as_dns_does_and_keys_by_the_file_that_they_lead_to() -> None:
    entries = [
        Entry("a", "example.org:2026A:/k/1"),
        Entry("b", "example.org:2026a:/k/x/../1"),
        Entry("c", "example.org:x:/link"),
        Entry("any", "%:2026A:/links/%"),
    ]
    real = {"/link": "/k/1", "/links/example.org": "/k/1"}
    view = KeyTableView(entries, real=lambda path: real.get(path, os.path.normpath(path)))
    assert view.users_of_record("example.org", "2026a") == ["a", "b", "any"]
    assert view.users_of_record("example.org", "2026A") == ["a", "b", "any"]
    assert view.users_of_key("example.org", "/k/1") == ["a", "b", "c", "any"]
    assert view.users_of_key("example.org", "/link") == ["a", "b", "c", "any"]
    assert view.selectors("example.org") == {"2026a", "x"}


def test_an_entry_whose_selector_has_another_case_is_the_same() -> None:
    upper = TABLE.replace(" : old : ", " : OLD : ")
    assert pointed_to(upper, "r", OLD, NEW) == pointed_to(TABLE, "r", OLD, NEW)
    switched = pointed_to(TABLE, "r", OLD, NEW).replace("202610a:", "202610A:")
    assert pointed_to(switched, "r", OLD, NEW) == switched


def test_keys_in_the_table_itself_are_left_out_and_never_told() -> None:
    view = KeyTableView([Entry("r", "example.org:s:MIIEvAIBADANBg")])
    assert view.entry("r") is None
    assert "MIIE" not in repr(view.left_out)
