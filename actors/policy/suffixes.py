"""Organizations by the public suffix list (RFC 7489 section 3.2): for who must judge as before RFC 9989."""

from functools import cache

from publicsuffixlist import PublicSuffixList

from actors.policy.dmarc import Walk


class PublicSuffixes:
    """Implements actors.policy.dmarc.Organizations with the list that comes with the package; no file, no network."""

    walks = False

    def names(self, domain: str) -> list[str]:
        """The domain and its organization (RFC 7489 section 6.6.3): no other name has a record that applies."""
        return list(dict.fromkeys((domain, self.of(domain, ()))))

    def of(self, domain: str, found: Walk) -> str:  # noqa: ARG002 - records do not matter here
        """The public suffix and one label more; a public suffix itself is its own organization."""
        return _public_suffixes().privatesuffix(domain) or domain


@cache
def _public_suffixes() -> PublicSuffixList:
    """Reading it takes 80 ms, once per process."""
    return PublicSuffixList(accept_unknown=True)
