"""What is counted: one row for messages that are alike in everything that a report says (RFC 9990 section 3.1.1).

Both structs have one canonical text (a JSON array), which is their key in Redis.
"""

import msgspec


class Published(msgspec.Struct, frozen=True, array_like=True):
    """The policy that a domain published; absent tags have their defaults."""

    domain: str
    """The Policy Domain: where the record was found."""
    p: str
    sp: str
    np: str
    adkim: str
    aspf: str
    testing: str
    """y or n."""
    discovery: str
    """treewalk (RFC 9989) or psl (RFC 7489)."""
    fo: str = "0"
    """Which failures it asks about in failure reports."""


class Row(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What messages have in common that are counted together. "" and () are what is not known."""

    source_ip: str
    header_from: str
    envelope_from: str
    envelope_to: str
    """Set when all recipients are of one domain."""
    disposition: str
    """none, pass, quarantine or reject."""
    dkim: str
    """pass or fail: whether an aligned signature passed."""
    spf: str
    reasons: tuple[tuple[str, str], ...]
    """(type, comment) of each policy override."""
    signatures: tuple[tuple[str, str, str], ...]
    """(d=, s=, result) of each DKIM signature."""
    spf_domain: str
    spf_result: str


class Counts(msgspec.Struct, frozen=True):
    """What was counted on a day about one Policy Domain."""

    published: Published
    """The last one seen."""
    rows: dict[Row, int]
    """Messages of each row."""
    dropped: int = 0
    """Messages beyond, which are in no row, since there was no room for one."""
