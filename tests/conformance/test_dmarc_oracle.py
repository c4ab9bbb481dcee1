"""DMARC against a second reading of RFC 9989: its steps one after the other over a dictionary, by no code of ours.

Mail, records and results are drawn from a seed: trees of up to ten labels with records at any height, several at one
name, misspelt policies, every tag that counts. Left out is what the text leaves open or says twice: errors of DNS, and
a record without p whose other policies could count or not (section 4.7 against 4.10.1).
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from actors.decide.dmarc import evaluate_dmarc
from actors.model import Finding, Outcome
from actors.policy.dmarc import discover
from tests.fakes import FakeResolver

CASES = 4000
POLICIES = ("none", "quarantine", "reject")
NO_PASS = ("fail", "softfail", "neutral", "none", "permerror")
ONE_LEVEL_BELOW = {"reject": "quarantine", "quarantine": "none", "none": "none"}

Tags = Mapping[str, str]
Zone = Mapping[str, Sequence[Tags]]
"""The DMARC records of each domain, with their tags."""
Answer = tuple[str, str, str]
"""Result, policy for a failure, domain whose record applies."""
NOT_APPLIED: Answer = ("not applied", "", "")


@dataclass(frozen=True)
class Case:
    """One mail and what DNS knows."""

    zone: Zone
    others: frozenset[str]
    """Names that exist besides those with records."""
    author: str
    spf: tuple[str, str]
    dkim: tuple[tuple[str, str], ...]


def tree_walk(start: str, zone: Zone) -> list[tuple[str, Tags]]:
    """Section 4.10, steps 1 to 7: the records on the way, longest name first."""
    found = []
    target = start
    while target:
        records = zone.get(target, ())
        if len(records) == 1:
            found.append((target, records[0]))
            if records[0].get("psd") in ("n", "y"):
                break
        labels = target.split(".")
        target = ".".join(labels[1:] if len(labels) < 8 else labels[-7:])
    return found


def organizational_domain(start: str, zone: Zone) -> str:
    """Section 4.10.2."""
    found = tree_walk(start, zone)
    for name, tags in found:
        if tags.get("psd") == "n":
            return name
        if tags.get("psd") == "y" and name != start:
            below = start.removesuffix("." + name).split(".")[-1]
            return f"{below}.{name}"
    return min((name for name, _ in found), key=lambda name: name.count("."), default=start)


def policy_record(author: str, zone: Zone) -> tuple[str, Tags] | None:
    """Section 4.10.1: of the author domain, else of its organizational domain, else of its public suffix domain."""
    at_author = zone.get(author, ())
    if len(at_author) == 1:
        return author, at_author[0]
    labels = author.split(".")
    start = ".".join(labels[1:] if len(labels) <= 8 else labels[-7:])
    found = tree_walk(start, zone) if start else []
    organization = organizational_domain(start, zone)
    for name, tags in found:
        if name == organization:
            return name, tags
    for name, tags in found:
        if tags.get("psd") == "y":
            return name, tags
    return None


def reference(case: Case) -> Answer:
    """What RFC 9989 says about this mail."""
    applicable = policy_record(case.author, case.zone)
    if applicable is None:
        return NOT_APPLIED
    name, tags = applicable
    policies = {tag: tags[tag] for tag in ("p", "sp", "np") if tag in tags}
    if "p" not in policies or any(policy not in POLICIES for policy in policies.values()):
        if "rua" not in tags:
            return NOT_APPLIED
        policies = {"p": "none"}
    policy = policies["p"]
    if name != case.author:
        exists = any(f".{known}".endswith(f".{case.author}") for known in (*case.zone, *case.others))
        policy = policies.get("sp", policy) if exists else policies.get("np", policies.get("sp", policy))
    if tags.get("t") == "y":
        policy = ONE_LEVEL_BELOW[policy]
    authenticated = [(domain, tags.get("adkim")) for result, domain in case.dkim if result == "pass"]
    if case.spf[0] == "pass":
        authenticated.append((case.spf[1], tags.get("aspf")))
    organization = organizational_domain(case.author, case.zone)
    aligned = any(
        domain == case.author if mode == "s" else organizational_domain(domain, case.zone) == organization
        for domain, mode in authenticated
    )
    return ("pass" if aligned else "fail"), policy, name


async def ours(case: Case) -> Answer:
    """The same by the policy actor's discovery and the verdict's conclusion."""
    lines = [f"{name} A 192.0.2.1" for name in case.others]
    lines += [f'_dmarc.{name} TXT "{_text(tags)}"' for name, records in case.zone.items() for tags in records]
    identifiers = {case.spf[1], *(domain for _, domain in case.dkim)}
    record = await discover(case.author, sorted(identifiers), FakeResolver("\n".join(lines)))
    findings = [Finding("dkim", "dkim", Outcome(result), facts={"header.d": domain}) for result, domain in case.dkim]
    findings.append(Finding("policy", "spf", Outcome(case.spf[0]), facts={"domain": case.spf[1]}))
    dmarc = evaluate_dmarc([record, *findings])
    assert dmarc is not None
    if dmarc.outcome in (Outcome.NONE, Outcome.PERMERROR):
        return NOT_APPLIED
    return dmarc.outcome, dmarc.facts["policy.dmarc"], record.facts["policy_domain"]


def _text(tags: Tags) -> str:
    return "; ".join(f"{tag}={value}" for tag, value in {"v": "DMARC1", **tags}.items())


def draw_case(draw: random.Random) -> Case:
    """A mail with one to three identifiers near its author, and records at some of their names."""
    author = _name(draw, draw.choice((1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 10)))
    identifiers = [_near(draw, author) for _ in range(3)]
    names = {author, *identifiers}
    places = sorted({".".join(name.split(".")[first:]) for name in names for first in range(name.count(".") + 1)})
    chance = draw.choice((0.2, 0.4, 0.7))
    zone = {name: _records(draw, name) for name in places if draw.random() < chance}
    if draw.random() < 0.7:
        zone.pop(author, None)
    others = frozenset(name for name in places if draw.random() < 0.2)
    dkim = [(draw.choice(("pass", "pass", "fail", "permerror")), domain) for domain in identifiers[1:]]
    spf = draw.choice(("pass", draw.choice(NO_PASS))), identifiers[0]
    return Case(zone, others, author, spf, tuple(dkim[: draw.randrange(3)]))


def _name(draw: random.Random, labels: int) -> str:
    return ".".join([*(draw.choice("abc") for _ in range(labels - 1)), draw.choice(("example", "test"))])


def _near(draw: random.Random, author: str) -> str:
    """The author's domain, one above or below it, one beside it, or a stranger's."""
    labels = author.split(".")
    first = draw.randrange(len(labels))
    match draw.randrange(5):
        case 0:
            return author
        case 1:
            return ".".join(labels[first:])
        case 2:
            return f"{draw.choice('abc')}.{author}"
        case 3:
            return ".".join([draw.choice("abc"), *labels[first:]])
        case _:
            return _name(draw, draw.randrange(1, 5))


def _records(draw: random.Random, name: str) -> list[dict[str, str]]:
    return [_tags(draw, name) for _ in range(draw.choice((1, 1, 1, 1, 1, 2)))]


def _tags(draw: random.Random, name: str) -> dict[str, str]:
    tags = {"p": draw.choice(POLICIES)}
    for tag in ("sp", "np"):
        if draw.random() < 0.4:
            tags[tag] = draw.choice(POLICIES)
    if draw.random() < 0.1:
        tags[draw.choice([*tags])] = "rejected"
    elif draw.random() < 0.1:
        tags = {"rua": "mailto:d@example.com"}
    if draw.random() < 0.3:
        tags["rua"] = "mailto:d@example.com"
    if draw.random() < (0.6 if name.count(".") < 2 else 0.2):
        tags["psd"] = draw.choice("ynux")
    if draw.random() < 0.3:
        tags["t"] = draw.choice("ynx")
    for tag in ("adkim", "aspf"):
        if draw.random() < 0.4:
            tags[tag] = draw.choice("rsx")
    return dict(draw.sample([*tags.items()], len(tags)))


async def test_ours_and_a_second_reading_of_rfc_9989_come_to_the_same_end(
    record_property: Callable[[str, object], None],
) -> None:
    draw = random.Random(9989)
    ends: Counter[tuple[str, str]] = Counter()
    wrong = []
    for _ in range(CASES):
        case = draw_case(draw)
        expected, found = reference(case), await ours(case)
        ends[expected[:2]] += 1
        if found != expected:
            wrong.append(f"{case}: expected {expected}, not {found}")
    record_property("figure", f"{CASES - len(wrong)}_of_{CASES}")
    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong[:5])
    assert ends.keys() == {NOT_APPLIED[:2], *((result, policy) for result in ("pass", "fail") for policy in POLICIES)}
    assert min(ends.values()) >= 100, ends
