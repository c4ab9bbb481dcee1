"""actors/adapters/zone_fragment.py: one line for each key, and what others wrote stays."""

from actors.adapters.zone_fragment import with_lines

NAME = "s._domainkey.example.org"
BEFORE = "; by hand\nwww IN A 192.0.2.1\nS._domainkey.EXAMPLE.org. IN TXT old\n; s._domainkey.example.org. IN TXT\n"


def test_a_name_has_its_new_line_and_no_other_and_the_rest_stays() -> None:
    after = with_lines(BEFORE, NAME, [f"{NAME}.\tIN\tTXT\tnew"])
    assert after == BEFORE.replace("S._domainkey.EXAMPLE.org. IN TXT old\n", "") + f"{NAME}.\tIN\tTXT\tnew\n"
    assert with_lines(after, NAME, [f"{NAME}.\tIN\tTXT\tnew"]) == after
    assert with_lines(after, NAME, []) == BEFORE.replace("S._domainkey.EXAMPLE.org. IN TXT old\n", "")
