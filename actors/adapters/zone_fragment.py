"""A Publisher that writes fragments of zone files, which zones $INCLUDE: one line for each key."""

from pathlib import Path

from actors.adapters.rotation_files import replace_file
from actors.dkim.signing.publication import PublishedKey, zone_lines

_MODE = 0o644


class ZoneFragments:
    """The file of `template`, in which {domain} is the domain of the key."""

    def __init__(self, template: str, ttl_s: int) -> None:
        self._template = template
        self._ttl_s = ttl_s

    async def publish(self, domain: str, name: str, record: str) -> str:
        """The name has one line with this record."""
        selector = name.removesuffix(f"._domainkey.{domain}")
        return self._set(domain, name, zone_lines([PublishedKey(domain, selector, record)], self._ttl_s))

    async def revoke(self, domain: str, name: str, record: str) -> str:
        """The same."""
        return await self.publish(domain, name, record)

    async def remove(self, domain: str, name: str) -> str:
        """The name has no line."""
        return self._set(domain, name, [])

    def _set(self, domain: str, name: str, lines: list[str]) -> str:
        path = Path(self._template.replace("{domain}", domain))
        before = path.read_bytes() if path.exists() else None
        after = with_lines((before or b"").decode(), name, lines).encode()
        if after != before:
            replace_file(path, after, _MODE, path, before)
        return str(path)


def with_lines(text: str, name: str, lines: list[str]) -> str:
    """The text of a fragment in which the name (absolute, without the final dot) has these lines and no others."""
    owner = f"{name}.".lower()
    kept = [line for line in text.splitlines() if _owner(line) != owner]
    return "".join(f"{line}\n" for line in [*kept, *lines])


def _owner(line: str) -> str:
    words = line.partition(";")[0].split(None, 1)
    return words[0].lower() if words else ""
