"""Domain names as DNS questions: which names can exist at all, and how an address is asked for.

Shared by the real resolver and the zone file, so that both refuse the same names without asking.
"""

import ipaddress

from actors.ports import NameNotFound

_LABEL_BYTES_MAX = 63
_NAME_BYTES_MAX = 253


def question_name(name: str) -> str:
    """The name in lower case without final dot. Raises NameNotFound for what no DNS server can hold.

    RFC 1035 section 2.3.4: labels of 1 to 63 bytes, 253 characters in all; ASCII, and nothing that is not printable.
    """
    bare = name.removesuffix(".")
    if not bare.isascii() or not bare.isprintable() or " " in bare or "\\" in bare or len(bare) > _NAME_BYTES_MAX:
        raise NameNotFound(name, nxdomain=True)
    if any(not 0 < len(label) <= _LABEL_BYTES_MAX for label in bare.split(".")):
        raise NameNotFound(name, nxdomain=True)
    return bare.lower()


def reverse_name(ip: str) -> str:
    """The in-addr.arpa or ip6.arpa name of an address. Raises NameNotFound for what is no address."""
    try:
        return ipaddress.ip_address(ip).reverse_pointer
    except ValueError:
        raise NameNotFound(ip, nxdomain=True) from None
