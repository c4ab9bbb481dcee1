"""Names that go into file names, subjects and addresses: letters, digits, hyphen, underscore and dots only.

DNS and mail may hold any octet in a name; what is not such a name is never reported about nor written to.
"""

import re

_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_][a-z0-9_\-]{0,62}(?:\.[a-z0-9_][a-z0-9_\-]{0,62})*+\Z")
_LOCAL_PART = re.compile(r"(?=.{1,64}\Z)[\w!#$%&'*+/=?^`{|}~\-]++(?:\.[\w!#$%&'*+/=?^`{|}~\-]++)*+\Z", re.ASCII)


def is_domain(text: str) -> bool:
    """Whether it is a domain name in lower case, of A-labels, without final dot."""
    return bool(_DOMAIN.match(text))


def is_mailbox(text: str) -> bool:
    """Whether it is an address with a dot-string before the @ (RFC 5321 section 4.1.2) and a domain in lower case."""
    local_part, _, domain = text.rpartition("@")
    return bool(_LOCAL_PART.match(local_part)) and is_domain(domain)
