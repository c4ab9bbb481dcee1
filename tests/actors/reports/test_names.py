import pytest

from actors.reports.names import is_domain, is_mailbox


@pytest.mark.parametrize(
    "name", ["example.org", "bank", "_dmarc.x-y.example", "xn--bcher-kva.example", "a." * 126 + "a"]
)
def test_a_domain_is_a_domain(name: str) -> None:
    assert is_domain(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "A.example",
            "a b",
            "a/b.example",
            "..",
            "a!b.example",
            "a\n",
            "a\x00b",
            "é.example",
        ),
        *("-a.example", "a" * 64 + ".example", "a." * 127 + "a", "<a>.example"),
    ],
)
def test_what_could_be_misread_in_a_file_name_or_subject_is_none(name: str) -> None:
    assert not is_domain(name)


@pytest.mark.parametrize("address", ["d@example.org", "d.o+x@example.org", "a!b@example.org", "D@example.org"])
def test_a_mailbox_is_a_mailbox(address: str) -> None:
    assert is_mailbox(address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "@example.org", "d@", "d", "a@b@example.org", "d@EXAMPLE.org", "d @example.org", '"d"@example.org'),
        *("d@example.org\r\nBcc: x@y", "d\r\n@example.org", "<d@example.org>", "a..b@example.org", "d,e@example.org"),
        *("é@example.org", "a" * 65 + "@example.org", "d@[192.0.2.1]"),
    ],
)
def test_what_could_be_misread_in_a_header_is_none(address: str) -> None:
    assert not is_mailbox(address)
