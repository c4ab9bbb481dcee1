"""Domain names as people write them, internationalised ones included, as the A-labels that DNS knows (RFC 5890)."""

import idna

_DOMAIN_CHARS_MAX = 253


def ascii_domain(text: str) -> str:
    """A domain as A-labels in lower case without final dot; "" when it is none (literals, empty labels, no dot)."""
    domain = text.strip().rstrip(".").lower()
    if not domain or len(domain) > _DOMAIN_CHARS_MAX or domain.startswith("["):
        return ""
    if not domain.isascii():
        try:
            # As mail programs do: UTS 46, non-transitional. Python's own codec is IDNA 2003: sharp s differs.
            domain = idna.encode(domain, uts46=True, transitional=False).decode("ascii")
        except idna.IDNAError:
            return ""
    if "." not in domain or not domain.isprintable() or " " in domain or ".." in domain or domain.startswith("."):
        return ""
    return domain
