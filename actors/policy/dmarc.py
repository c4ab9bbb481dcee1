"""DMARC record discovery and organizational domains (RFC 9989 section 4.10): the DNS half of DMARC.

`ask_walks` asks, all at once; `parse_record`, `walk` and `organizational_domain` are pure. Where records stand and what
an organization is, `TreeWalk` says, or `suffixes.PublicSuffixes` as before it. The conclusion (alignment, policy) is
drawn by `actors.decide.dmarc` from the facts given here, since only there the DKIM results are known.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from actors.model import Finding, Outcome
from actors.ports import LookupFailed, NameNotFound, Resolver, TxtAnswer

_POLICIES = ("none", "quarantine", "reject")
_FAILURE_OPTIONS = ("0", "1", "d", "s")
_OPTIONS_CHARS_MAX = len("0:1:d:s")
_REPORT_URI = re.compile(r"(?:\A|,)\s*+[a-z][a-z0-9+.\-]*+:[!-~]", re.IGNORECASE | re.ASCII)
"""One of any scheme (RFC 3986 section 3.1) makes a record with a misspelt policy count, also where we do not report."""
_LABELS_WALKED = 7
"""RFC 9989 section 4.10 step 4: after the name itself at most 7 labels remain, so at most 8 questions."""
_RECORD_BYTES_MAX = 4096
DISCOVERY_LIMIT_S = 6.0
"""Cap of one discovery: it asks three times at most, each time all names at once."""


class Record(msgspec.Struct, frozen=True):
    """A DMARC policy record (RFC 9989 section 4.7); absent tags have their defaults, absent policies are ""."""

    p: str = "none"
    sp: str = ""
    np: str = ""
    adkim: str = "r"
    aspf: str = "r"
    psd: str = "u"
    testing: bool = False
    usable: bool = True
    """False: a policy is misspelt and nobody asked for reports, so DMARC is not applied (section 4.10.1)."""
    fo: str = ""
    """Which failures are asked about in failure reports, where it is not the default ("0")."""
    rua: str = ""
    """Where aggregate reports are wanted, as it stands in the record (`actors.reports.destinations` reads it)."""


Answers = Mapping[str, TxtAnswer]
"""By domain, what DNS said about its DMARC record."""
Walk = tuple[tuple[str, Record], ...]
"""The records on the way up, longest name first."""


def parse_records(texts: Iterable[bytes]) -> Record | None:
    """The one DMARC record of a name; None when there is none, or several (section 4.10 step 2)."""
    records = [record for record in map(parse_record, texts) if record is not None]
    return records[0] if len(records) == 1 else None


def parse_record(text: bytes) -> Record | None:
    """A TXT record as a DMARC record; None when it is none. Syntax errors after v= leave the defaults."""
    # Before the cache, whose keys would be of any length.
    return _parse_short(text) if len(text) <= _RECORD_BYTES_MAX else None


@lru_cache(maxsize=4096)
def _parse_short(text: bytes) -> Record | None:
    version, *rest = text.decode("ascii", "replace").split(";")
    name, _, value = version.partition("=")
    if name.strip(" \t") != "v" or value.strip(" \t") != "DMARC1":
        return None
    tags: dict[str, str] = {}
    for part in rest:
        tag, _, value = part.partition("=")
        tags.setdefault(tag.strip().lower(), value.strip())
    rua = tags.get("rua", "")
    tags = {tag: value.lower() for tag, value in tags.items()}
    policies = {tag: tags[tag] for tag in ("p", "sp", "np") if tag in tags}
    valid = all(policy in _POLICIES for policy in policies.values())
    if not valid:
        policies = {}
    return Record(
        p=policies.get("p", "none"),
        sp=policies.get("sp", ""),
        np=policies.get("np", ""),
        adkim=_one_of("rs", tags.get("adkim")),
        aspf=_one_of("rs", tags.get("aspf")),
        psd=_one_of("uyn", tags.get("psd")),
        testing=tags.get("t") == "y",
        usable=valid or _REPORT_URI.search(rua) is not None,
        fo=_failure_options(tags.get("fo", "")),
        rua=rua,
    )


def _one_of(letters: str, value: str | None) -> str:
    """`value` when it is one of the letters, else the first, which is the default."""
    return value if value and len(value) == 1 and value in letters else letters[0]


def _failure_options(value: str) -> str:
    """Options of a `fo` tag; "" for the default, and for what is none."""
    options = value.replace(" ", "")
    known = len(options) <= _OPTIONS_CHARS_MAX and all(one in _FAILURE_OPTIONS for one in options.split(":"))
    return options if known and options != _FAILURE_OPTIONS[0] else ""


def walk_names(domain: str) -> list[str]:
    """The names at which records are looked for: the domain, then its parents, at most 8 in all."""
    labels = domain.split(".")
    start = 1 if len(labels) <= _LABELS_WALKED else len(labels) - _LABELS_WALKED
    return [domain, *(".".join(labels[first:]) for first in range(start, len(labels)))]


class Organizations(Protocol):
    """Where the records for a domain may stand, and to which organization it belongs."""

    walks: bool
    """Whether DNS has to be asked to know an organization."""

    def names(self, domain: str) -> list[str]:
        """The names at which records are looked for, the domain itself first."""

    def of(self, domain: str, found: Walk) -> str:
        """The organizational domain, given the records found at those names."""


class TreeWalk:
    """RFC 9989 section 4.10."""

    walks = True

    def names(self, domain: str) -> list[str]:
        """The domain and its parents."""
        return walk_names(domain)

    def of(self, domain: str, found: Walk) -> str:
        """As the records say."""
        return organizational_domain(domain, found)


TREE_WALK = TreeWalk()


async def ask_walks(domains: Iterable[str], resolver: Resolver, organizations: Organizations = TREE_WALK) -> Answers:
    """Ask every name of every walk at the same time: one round trip instead of one for each label."""
    names = list(dict.fromkeys(name for domain in domains for name in organizations.names(domain)))
    return dict(zip(names, await resolver.txt_each([f"_dmarc.{name}" for name in names]), strict=True))


def walk(domain: str, answers: Answers, organizations: Organizations = TREE_WALK) -> Walk:
    """The DNS Tree Walk from `domain` upwards; it ends early at a record that says psd=y or psd=n.

    Raises LookupFailed when a name on its way gave no answer.
    """
    found: list[tuple[str, Record]] = []
    for name in organizations.names(domain):
        answer = answers[name]
        if isinstance(answer, LookupFailed):
            raise LookupFailed(*answer.args)
        record = None if isinstance(answer, NameNotFound) else parse_records(answer)
        if record is not None:
            found.append((name, record))
            if record.psd != "u":
                break
    return tuple(found)


def organizational_domain(domain: str, found: Walk) -> str:
    """The organizational domain of `domain`, given its walk (section 4.10.2)."""
    for name, record in found:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            labels = domain.split(".")
            return ".".join(labels[-(name.count(".") + 2) :])
    return found[-1][0] if found else domain


def policy_record(domain: str, organization: str, found: Walk) -> tuple[str, Record] | None:
    """Where the record that applies to `domain` was found (section 4.10.1): itself, its organization, its PSD."""
    records = dict(found)
    for name in (domain, organization):
        if name in records:
            return name, records[name]
    return next(((name, record) for name, record in found if record.psd == "y"), None)


async def discover(
    domain: str, identifiers: Sequence[str], resolver: Resolver, organizations: Organizations = TREE_WALK
) -> Finding:
    """The finding `dmarc_record` for an author domain, with `org:` facts for the identifiers that may align with it.

    Outcome none: no record; temperror: DNS failed; permerror: a record that cannot be applied; pass: a record.
    """
    facts = {"domain": domain}
    # Who shares two labels with the author may belong to the same organization: asked along with it.
    near = [name for name in identifiers if name != domain and name.split(".")[-2:] == domain.split(".")[-2:]]
    answers = await ask_walks([domain, *(near if organizations.walks else ())], resolver, organizations)
    try:
        found = walk(domain, answers, organizations)
    except LookupFailed:
        return unanswered(domain)
    organization = organizations.of(domain, found)
    applicable = policy_record(domain, organization, found)
    if applicable is None:
        return Finding("policy", "dmarc_record", Outcome.NONE, detail="no record", facts=facts)
    name, record = applicable
    if not record.usable:
        return Finding("policy", "dmarc_record", Outcome.PERMERROR, detail=f"invalid policy at {name}", facts=facts)
    facts |= {
        "policy_domain": name,
        "org_domain": organization,
        "p": record.p,
        "sp": record.sp,
        "np": record.np,
        "adkim": record.adkim,
        "aspf": record.aspf,
        "psd": record.psd,
        "testing": "yes" if record.testing else "no",
        "discovery": "treewalk" if organizations.walks else "psl",
        "existing": "yes" if name == domain or not record.np else await _existing(domain, resolver),
    }
    if record.rua:
        facts["rua"] = "yes"
    if record.fo:
        facts["fo"] = record.fo
    if "r" in (record.adkim, record.aspf):
        related = [name for name in identifiers if name != domain and _is_within(name, organization)]
        if organizations.walks and not answers.keys() >= set(related):
            answers = await ask_walks(related, resolver)
        facts |= {f"org:{name}": _organization(name, answers, organizations) for name in related}
    return Finding("policy", "dmarc_record", Outcome.PASS, detail=f"p={record.p} at {name}", facts=facts)


def unanswered(domain: str) -> Finding:
    """The finding `dmarc_record` when DNS failed."""
    return Finding("policy", "dmarc_record", Outcome.TEMPERROR, detail="DNS gave no answer", facts={"domain": domain})


def _organization(domain: str, answers: Answers, organizations: Organizations) -> str:
    try:
        return organizations.of(domain, walk(domain, answers) if organizations.walks else ())
    except LookupFailed:
        return ""


async def _existing(domain: str, resolver: Resolver) -> str:
    """Whether the domain exists; only NXDOMAIN says no (RFC 9989 section 3.2, RFC 8020)."""
    try:
        await resolver.addresses(domain)
    except NameNotFound as error:
        return "no" if error.nxdomain else "yes"
    except LookupFailed:
        return "yes"
    return "yes"


def _is_within(name: str, parent: str) -> bool:
    return name == parent or name.endswith("." + parent)
