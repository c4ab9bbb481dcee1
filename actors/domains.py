"""Domain names as people write them, internationalised ones included, as the A-labels that DNS knows (RFC 5890)."""

from functools import lru_cache

import idna

DOTS = ".\u3002\uff0e\uff61"
"""What separates labels (RFC 5895 section 2): the full stop, and three of East Asian scripts."""
_DOMAIN_CHARS_MAX = 253


def ascii_domain(text: str) -> str:
    """A domain as A-labels in lower case without final dot; "" when it is none (literals, empty labels, no dot)."""
    domain = text.strip().rstrip(DOTS).lower()
    if not domain or len(domain) > _DOMAIN_CHARS_MAX or domain.startswith("["):
        return ""
    if not domain.isascii():
        domain = _a_labels(domain)
    if "." not in domain or not domain.isprintable() or " " in domain or ".." in domain or domain.startswith("."):
        return ""
    return domain


@lru_cache(maxsize=16)
def ascii_domains(texts: tuple[str, ...]) -> frozenset[str]:
    """The domains of a list in the configuration, which is read once; what is none is left out."""
    return frozenset(map(ascii_domain, texts)) - {""}


@lru_cache(maxsize=4096)
def _a_labels(domain: str) -> str:
    """A-labels; "" when it is no domain. Kept, since it costs up to a millisecond and is asked several times a mail."""
    try:
        # As mail programs do: UTS 46, non-transitional. Python's own codec is IDNA 2003: sharp s differs.
        encoded = idna.encode(domain, uts46=True, transitional=False)
    except idna.IDNAError:
        return ""
    return encoded.decode("ascii").rstrip(".")  # what was behind a last dot may be mapped to nothing
