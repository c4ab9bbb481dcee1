"""How signatures look: which fields they cover, in which form, for how long. Imports nothing, for the configuration."""

from collections.abc import Sequence
from dataclasses import dataclass

KEY_BITS_MIN = 1024
"""RFC 8301 section 3.2: signers must not use RSA keys below."""
SIGN_HEADERS = (
    "from",
    "sender",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "to",
    "cc",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-id",
    "content-description",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "in-reply-to",
    "references",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
)
"""RFC 6376 section 5.4.1, RFC 8058 section 4, and what says how the body is to be read."""
OMIT_HEADERS = ("return-path", "received", "comments", "keywords", "bcc", "resent-bcc", "dkim-signature")
"""RFC 6376 section 5.4.1: what changes on the way."""
OVERSIGN_HEADERS = ("from", "reply-to", "subject", "to", "cc")
"""What a reader is shown and a stranger would like to add."""


@dataclass(frozen=True, slots=True)
class SigningOptions:
    """How signatures look; names of fields in lower case."""

    relaxed_header: bool = True
    relaxed_body: bool = True
    sign_headers: Sequence[str] = SIGN_HEADERS
    omit_headers: Sequence[str] = OMIT_HEADERS
    """Taken away from `sign_headers`; From cannot be."""
    oversign_headers: Sequence[str] = OVERSIGN_HEADERS
    """Signed once more than the message has them; From always is."""
    ttl_s: int = 0
    """x= this long after t=; 0 = without x=."""


def key_is_path(key: str) -> bool:
    """Whether a KeyTable's third part names a file."""
    return key.startswith(("/", "./", "../"))


def key_is_fetched(key: str) -> bool:
    """Whether a KeyTable's third part names a key in Redis or of the command."""
    return key.startswith(("redis:", "command:"))


def key_is_named(key: str) -> bool:
    """Whether a KeyTable's third part says where the key is; else it is the key, which is shown to nobody."""
    return key_is_path(key) or key_is_fetched(key)
