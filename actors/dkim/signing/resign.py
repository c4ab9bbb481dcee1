"""Whether mail of others may get our signature (ResignMailTo): never in the name of an author nobody vouches for. Pure.

A DMARC pass needs one signature whose domain aligns with the author's. Whoever signs what he forwards would give it to
all that strangers send in the name of his own organization, so there a signature that aligns must have passed before.
DNS is not asked for where an organization ends. So what may be one organization (two labels at the end are the same)
needs to be vouched for, and only a domain that is the author's, above or below it vouches.
"""

from collections.abc import Collection, Iterable

from actors.dkim.canonical import FieldsByName
from actors.model import Finding, Outcome
from actors.policy.author import read_author
from wire.message import unfold


def claimed_domains(fields: FieldsByName) -> tuple[str, ...]:
    """Every domain (A-labels) that a reader may take for the author's; none where readers may differ on that."""
    found = fields.get(b"from", ())
    if len(found) != 1:
        return ()
    author = read_author(unfold(found[0][1]))
    told = author.domains and "" not in author.domains and not author.truncated
    return (*author.domains, *author.shown) if told else ()


def unvouched(claimed: Iterable[str], signing_domain: str, verified: Iterable[Finding]) -> str:
    """The first of these domains that a signature of `signing_domain` might align with, and none that passed does."""
    passed = {one.facts.get("header.d", "") for one in verified if one.name == "dkim" and one.outcome is Outcome.PASS}
    ours = (domain for domain in claimed if domain.split(".")[-2:] == signing_domain.split(".")[-2:])
    return next((domain for domain in ours if not _vouches(passed, domain)), "")


def _vouches(passed: Collection[str], domain: str) -> bool:
    return any(one == domain or one.endswith(f".{domain}") or domain.endswith(f".{one}") for one in passed if one)
