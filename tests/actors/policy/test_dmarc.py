import pytest

from actors.model import Outcome
from actors.policy import dmarc
from actors.policy.dmarc import (
    Record,
    ask_walks,
    discover,
    organizational_domain,
    parse_record,
    parse_records,
    walk,
    walk_names,
)
from actors.policy.suffixes import PublicSuffixes
from tests.fakes import FakeResolver


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (b"v=DMARC1", Record()),
        (b"v=DMARC1; p=reject", Record(p="reject")),
        (b"v = DMARC1 ;p = Quarantine;", Record(p="quarantine")),
        (
            b"v=DMARC1;p=none;sp=reject;np=quarantine;adkim=s;aspf=s;t=y;psd=n",
            Record("none", "reject", "quarantine", "s", "s", "n", testing=True),
        ),
        (b"v=DMARC1; p=reject; pct=0; rf=afrf; fo=1; x=y; junk", Record(p="reject", fo="1")),
        (b"v=DMARC1; p=reject; adkim=x; aspf=; psd=yes; t=maybe", Record(p="reject")),
        (b"v=DMARC1; p=reject; p=none", Record(p="reject")),
        (b"v=DMARC1; p=bogus", Record(usable=False)),
        (b"v=DMARC1; p=reject; sp=bogus", Record(usable=False)),
        (b"v=DMARC1; p=bogus; rua=MAILTO:d@example.org", Record(p="none", rua="MAILTO:d@example.org")),
        (b"v=DMARC1; p=bogus; rua=x,https://example.org/d", Record(p="none", rua="x,https://example.org/d")),
        (b"v=DMARC1; p=bogus; rua=nobody@example.org", Record(usable=False, rua="nobody@example.org")),
        (b"v=DMARC1; rua=mailto:D.Owner@example.org!10m", Record(rua="mailto:D.Owner@example.org!10m")),
        (b"v=DMARC1; p=reject; \xff\xfe=\x00", Record(p="reject")),
    ],
)
def test_a_record_is_read_with_its_defaults(text: bytes, record: Record) -> None:
    assert parse_record(text) == record


@pytest.mark.parametrize(
    "text",
    [b"", b"v=DMARC2; p=none", b"v=dmarc1; p=none", b"p=none; v=DMARC1", b"v=spf1 -all", b"v=DMARC1" + b";" * 5000],
)
def test_what_does_not_begin_with_the_version_is_no_record(text: bytes) -> None:
    assert parse_record(text) is None


def test_several_records_are_none() -> None:
    assert parse_records([b"v=DMARC1; p=none", b"v=DMARC1; p=reject"]) is None
    assert parse_records([b"v=spf1 -all", b"v=DMARC1; p=reject"]) == Record(p="reject")


def test_the_walk_asks_the_eight_names_of_the_rfc() -> None:
    # The example of RFC 9989 section 4.10.
    assert walk_names("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]
    assert len(walk_names("a.b.c.d.e.f.g.com")) == 8
    assert walk_names("mail.example.com") == ["mail.example.com", "example.com", "com"]


@pytest.mark.parametrize(
    ("zone", "organization"),
    [
        # The examples of RFC 9989 section 4.10.2.
        ('_dmarc.mail.example.com TXT "v=DMARC1"\n_dmarc.example.com TXT "v=DMARC1"', "example.com"),
        (
            '_dmarc.mail.example.com TXT "v=DMARC1; psd=n"\n_dmarc.example.com TXT "v=DMARC1"',
            "mail.example.com",
        ),
        ('_dmarc.com TXT "v=DMARC1; psd=y"', "example.com"),
        ('_dmarc.mail.example.com TXT "v=DMARC1"\n_dmarc.com TXT "v=DMARC1; psd=y"', "example.com"),
        ('_dmarc.a.mail.example.com TXT "v=DMARC1; psd=y"', "a.mail.example.com"),
        ('_dmarc.example.com TXT "v=DMARC1"\n_dmarc.example.com TXT "v=DMARC1"', "a.mail.example.com"),
        ("", "a.mail.example.com"),
    ],
)
async def test_the_organizational_domain_is_the_one_of_the_rfc(zone: str, organization: str) -> None:
    domain = "a.mail.example.com"
    answers = await ask_walks([domain], FakeResolver(zone))
    assert organizational_domain(domain, walk(domain, answers)) == organization


async def test_the_walk_ends_at_a_record_that_says_where_the_organization_is() -> None:
    zone = '_dmarc.example.com TXT "v=DMARC1; psd=n"\n_dmarc.com TXT "v=DMARC1"'
    answers = await ask_walks(["mail.example.com"], FakeResolver(zone, failing=["_dmarc.com"]))
    assert [name for name, _ in walk("mail.example.com", answers)] == ["example.com"]


async def test_all_names_are_asked_at_the_same_time_and_once() -> None:
    resolver = FakeResolver('_dmarc.example.org TXT "v=DMARC1; p=reject"')
    await discover("news.example.org", ["bounce.example.org", "example.org", "mailer.example"], resolver)
    asked = ["_dmarc.news.example.org", "_dmarc.example.org", "_dmarc.org", "_dmarc.bounce.example.org"]
    assert resolver.rounds == [asked]


async def test_an_identifier_of_an_organization_with_one_label_is_asked_when_it_is_known() -> None:
    resolver = FakeResolver('_dmarc.brand TXT "v=DMARC1; psd=n"')
    finding = await discover("a.brand", ["b.brand"], resolver)
    assert finding.facts["org:b.brand"] == "brand"
    assert resolver.rounds == [["_dmarc.a.brand", "_dmarc.brand"], ["_dmarc.b.brand", "_dmarc.brand"]]


async def test_the_finding_tells_the_record_and_the_organizations_that_may_align() -> None:
    resolver = FakeResolver('_dmarc.example.org TXT "v=DMARC1; p=reject; sp=quarantine; aspf=s; t=y"')
    identifiers = ["bounce.example.org", "example.org", "mailer.example", "news.example.org"]
    finding = await discover("news.example.org", identifiers, resolver)
    assert finding.outcome is Outcome.PASS
    assert finding.facts == {
        "domain": "news.example.org",
        "policy_domain": "example.org",
        "org_domain": "example.org",
        "p": "reject",
        "sp": "quarantine",
        "np": "",
        "adkim": "r",
        "aspf": "s",
        "psd": "u",
        "testing": "yes",
        "discovery": "treewalk",
        "existing": "yes",
        "org:bounce.example.org": "example.org",
        "org:example.org": "example.org",
    }


async def test_a_part_of_the_organization_with_its_own_policy_is_another_organization() -> None:
    zone = '_dmarc.example.org TXT "v=DMARC1; p=none"\n_dmarc.dept.example.org TXT "v=DMARC1; psd=n"'
    finding = await discover("example.org", ["x.dept.example.org"], FakeResolver(zone))
    assert finding.facts["org:x.dept.example.org"] == "dept.example.org"


async def test_strict_records_need_no_organizations() -> None:
    resolver = FakeResolver('_dmarc.example.org TXT "v=DMARC1; p=none; adkim=s; aspf=s"')
    finding = await discover("example.org", ["mail.example.org"], resolver)
    assert not any(fact.startswith("org:") for fact in finding.facts)


@pytest.mark.parametrize(
    ("zone", "existing"),
    [
        ('_dmarc.example.org TXT "v=DMARC1; p=none; np=reject"', "no"),
        ('_dmarc.example.org TXT "v=DMARC1; p=none; np=reject"\nx.example.org TXT "a"', "yes"),
        ('_dmarc.example.org TXT "v=DMARC1; p=none"', "yes"),
    ],
)
async def test_whether_the_author_domain_exists_is_asked_where_np_wants_it(zone: str, existing: str) -> None:
    assert (await discover("x.example.org", [], FakeResolver(zone))).facts["existing"] == existing


async def test_the_policy_of_a_public_suffix_applies_where_the_organization_has_none() -> None:
    finding = await discover("x.agency.gov", [], FakeResolver('_dmarc.gov TXT "v=DMARC1; p=reject; psd=y"'))
    assert (finding.facts["policy_domain"], finding.facts["org_domain"]) == ("gov", "agency.gov")


async def test_the_finding_tells_whether_reports_are_wanted() -> None:
    wanted = FakeResolver('_dmarc.example.org TXT "v=DMARC1; rua=mailto:d@example.org"')
    assert (await discover("example.org", [], wanted)).facts["rua"] == "yes"
    assert "rua" not in (await discover("example.org", [], FakeResolver('_dmarc.example.org TXT "v=DMARC1"'))).facts


@pytest.mark.parametrize(
    ("tag", "told"), [("fo=1:d:s", "1:d:s"), ("fo=0", ""), ("", ""), ("fo=1:x", ""), ("fo=" + "1:" * 99, "")]
)
async def test_the_finding_tells_which_failures_are_asked_about_where_it_is_not_the_default(
    tag: str, told: str
) -> None:
    finding = await discover("example.org", [], FakeResolver(f'_dmarc.example.org TXT "v=DMARC1; {tag}"'))
    assert finding.facts.get("fo", "") == told


async def test_no_record_is_none_and_a_misspelt_one_permerror() -> None:
    assert (await discover("example.org", [], FakeResolver())).outcome is Outcome.NONE
    bad = FakeResolver('_dmarc.example.org TXT "v=DMARC1; p=rejct"')
    assert (await discover("example.org", [], bad)).outcome is Outcome.PERMERROR


@pytest.mark.parametrize("failing", ["_dmarc.mail.example.org", "_dmarc.org"])
async def test_dns_that_does_not_answer_is_a_temperror(failing: str) -> None:
    resolver = FakeResolver('_dmarc.example.org TXT "v=DMARC1; p=reject"', failing=[failing])
    assert (await discover("mail.example.org", [], resolver)).outcome is Outcome.TEMPERROR


async def test_an_identifier_whose_organization_dns_does_not_tell_is_left_open() -> None:
    resolver = FakeResolver('_dmarc.example.org TXT "v=DMARC1"', failing=["_dmarc.x.example.org"])
    assert (await discover("example.org", ["x.example.org"], resolver)).facts["org:x.example.org"] == ""


def test_a_text_that_is_too_long_takes_no_place_in_the_cache() -> None:
    before = dmarc._parse_short.cache_info().currsize
    assert parse_record(b"v=DMARC1; p=reject; x=" + b"y" * 60_000) is None
    assert dmarc._parse_short.cache_info().currsize == before


# --- by the public suffix list (RFC 7489) ----------------------------------------------------------------------------


async def test_by_public_suffixes_only_the_domain_and_its_organization_are_asked() -> None:
    resolver = FakeResolver('_dmarc.example.co.uk TXT "v=DMARC1; p=none; sp=reject"')
    finding = await discover("a.b.example.co.uk", ["example.co.uk", "x.example.co.uk"], resolver, PublicSuffixes())
    assert [name for name, _ in resolver.questions] == ["_dmarc.a.b.example.co.uk", "_dmarc.example.co.uk"]
    assert finding.facts["policy_domain"] == finding.facts["org_domain"] == "example.co.uk"
    assert finding.facts["org:x.example.co.uk"] == "example.co.uk"


@pytest.mark.parametrize(
    ("domain", "organization"),
    [
        ("a.b.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("a.b.unknown-tld", "b.unknown-tld"),
        ("a.b.xn--55qx5d.cn", "b.xn--55qx5d.cn"),
    ],
)
def test_the_organization_is_one_label_below_a_public_suffix(domain: str, organization: str) -> None:
    assert PublicSuffixes().of(domain, ()) == organization


async def test_records_between_domain_and_organization_count_for_the_tree_walk_alone() -> None:
    zone = '_dmarc.dept.example.org TXT "v=DMARC1; p=reject; psd=n"\n_dmarc.example.org TXT "v=DMARC1; p=none"'
    walked = await discover("a.dept.example.org", [], FakeResolver(zone))
    listed = await discover("a.dept.example.org", [], FakeResolver(zone), PublicSuffixes())
    assert (walked.facts["policy_domain"], listed.facts["policy_domain"]) == ("dept.example.org", "example.org")
    assert (walked.facts["discovery"], listed.facts["discovery"]) == ("treewalk", "psl")


async def test_no_strangers_under_one_public_suffix_align() -> None:
    zone = '_dmarc.a.co.uk TXT "v=DMARC1; p=reject"\n_dmarc.co.uk TXT "v=DMARC1; p=none"'
    facts = (await discover("a.co.uk", ["b.co.uk", "co.uk"], FakeResolver(zone), PublicSuffixes())).facts
    assert not [name for name in facts if name.startswith("org:")]
