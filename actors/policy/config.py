"""The sections [policy.on_dkim] and [policy.on_form]: what becomes of mail whose signatures or form are at fault."""

from wire.config import Section

_ACTIONS = ("accept", "quarantine", "discard", "reject")


def _check_actions(section: Section, *actions: str) -> None:
    for key in section.__struct_fields__:
        if getattr(section, key) not in actions:
            raise ValueError(f"`{key}` must be {', '.join(actions[:-1])} or {actions[-1]}")


class DkimFailures(Section, frozen=True):
    """[policy.on_dkim]: what becomes of inbound mail without a good DKIM signature, by what is wrong with each it has.

    accept, quarantine, discard, tempfail or reject. Of several answers tempfail counts first, since the next attempt
    may end better, then the severest. The defaults leave it to DMARC and the score: RFC 6376 section 6.3 wants no mail
    refused for a signature that fails. One that fails by a key in test mode (t=y) counts as none.
    """

    no_signature: str = "accept"
    """There is none (OpenDKIM's On-NoSignature): accept, quarantine, discard, tempfail or reject, as for the others."""
    bad_signature: str = "accept"
    """It does not hold: the mail was changed, or the time of the signature is over (On-BadSignature)."""
    key_not_found: str = "accept"
    """DNS says that there is no such key (On-KeyNotFound)."""
    dns_error: str = "accept"
    """DNS gave no answer about the key (On-DNSError, whose own default is tempfail)."""
    signature_error: str = "accept"
    """The signature or its key cannot be used at all: syntax, rsa-sha1, a revoked key (On-SignatureError)."""
    security: str = "accept"
    """It holds, but not by our rules: a short key, `unsigned_tail`, `must_be_signed` (On-Security)."""

    def __post_init__(self) -> None:
        _check_actions(self, *_ACTIONS, "tempfail")


class FormFailures(Section, frozen=True):
    """[policy.on_form]: what becomes of inbound mail that two readers may read differently.

    accept, quarantine, discard or reject. The defaults leave it to `symbol_points`: honest programs make such mistakes.
    """

    fields: str = "accept"
    """No From or no Date, or a field twice that may stand there once (RFC 5322 section 3.6; OpenDKIM's
    RequiredHeaders): accept, quarantine, discard or reject, as for the others."""
    line_ends: str = "accept"
    """A CR or LF alone (RFC 5322 section 2.3), which SMTP smuggling needs."""
    from_multiple: str = "accept"
    """From shows several domains, or there are several: DMARC cannot judge it, and RFC 9989 section 11.5 lets it be
    refused (OpenDMARC's RejectMultiValueFrom)."""
    from_malformed: str = "accept"
    """From has no address that can be read, so DMARC cannot judge it either."""

    def __post_init__(self) -> None:
        _check_actions(self, *_ACTIONS)
