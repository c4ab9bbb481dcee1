"""tag=value lists (RFC 6376 section 3.2), in which signatures and key records are written; one pass, no expressions."""


class TagListError(Exception):
    """The text is not a tag=value list; the text of the error is the reason."""


def parse_tags(text: bytes) -> dict[bytes, bytes]:
    """Tags and values, stripped, in order. Raises TagListError, also for a tag that comes twice."""
    tags: dict[bytes, bytes] = {}
    specs = text.strip().split(b";")
    if not specs[-1]:  # A list may end with a semicolon.
        specs.pop()
    for spec in specs:
        tag, equals, value = spec.partition(b"=")
        tag = tag.strip()
        if not equals or not tag[:1].isalpha():
            raise TagListError("no tag=value")
        if tag in tags:
            raise TagListError("a tag twice")
        tags[tag] = value.strip()
    return tags
