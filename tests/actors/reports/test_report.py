import gzip
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from actors.reports.report import NAMESPACE, ReportError, bounds_of, check, make_report
from actors.reports.row import Counts, Row
from tests.actors.reports.samples import CONFIG, DAY, PUBLISHED, ROW, row

GOLDEN = Path(__file__).with_name("report.xml")


def parsed(xml: bytes) -> etree._Element:
    return etree.fromstring(xml)


def texts(xml: bytes, name: str) -> list[str]:
    return [element.text or "" for element in parsed(xml).iter(f"{{{NAMESPACE}}}{name}")]


def test_a_report_is_the_one_that_a_reader_expects() -> None:
    rows = {
        ROW: 3,
        row(
            source_ip="2001:db8::1",
            envelope_from="",
            envelope_to="",
            disposition="quarantine",
            dkim="fail",
            reasons=(("policy_test_mode", ""), ("other", "a reason")),
            signatures=(),
            spf_domain="",
            spf_result="",
        ): 1,
    }
    report = make_report(CONFIG, DAY, Counts(PUBLISHED, rows, dropped=7))
    assert report.xml.decode() == GOLDEN.read_text()
    assert gzip.decompress(report.packed) == report.xml
    assert report.report_id == "2026-01-01_example.org@mx.receiver.example"
    assert report.file_name == "mx.receiver.example!example.org!1767225600!1767311999.xml.gz"
    assert (report.messages, report.rows, report.dropped) == (4, 2, 7)


def test_the_same_counts_are_the_same_bytes() -> None:
    rows = {row(source_ip=f"192.0.2.{number}"): number + 1 for number in range(50)}
    backwards = dict(reversed(rows.items()))
    one, other = (make_report(CONFIG, DAY, Counts(PUBLISHED, counted)) for counted in (rows, backwards))
    assert (one.xml, one.packed, one.report_id, one.file_name) == (
        other.xml,
        other.packed,
        other.report_id,
        other.file_name,
    )


def test_two_cells_make_two_reports_of_one_day() -> None:
    """RFC 9990 sections 3.1.4 and 3.5.2: the unique-id of the file name is the Report-ID."""
    one, other, none = (
        make_report(msgspec.structs.replace(CONFIG, cell=cell), DAY, Counts(PUBLISHED, {ROW: 1}))
        for cell in ("a1", "b1", "")
    )
    assert len({one.report_id, other.report_id, none.report_id}) == 3
    for report in (one, other):
        assert report.report_id.isalnum()
        assert texts(report.xml, "report_id") == [report.report_id]
        assert report.file_name == f"mx.receiver.example!example.org!1767225600!1767311999!{report.report_id}.xml.gz"
    about_another = Counts(msgspec.structs.replace(PUBLISHED, domain="example.net"), {ROW: 1})
    assert make_report(msgspec.structs.replace(CONFIG, cell="a1"), DAY, about_another).report_id != one.report_id


@pytest.mark.parametrize("cell", ["", "fra1"])
def test_a_file_system_takes_the_file_of_the_longest_domain(cell: str) -> None:
    """255 bytes: the domain is a stranger's."""
    labels = f"{'a' * 60}.{'b' * 60}.{'c' * 60}"
    one, other = (
        make_report(
            msgspec.structs.replace(CONFIG, cell=cell),
            DAY,
            Counts(msgspec.structs.replace(PUBLISHED, domain=f"{labels}.{end * 61}.example"), {ROW: 1}),
        )
        for end in "de"
    )
    assert len(one.domain) == 252
    assert one.file_name != other.file_name
    for report in (one, other):
        assert len(report.file_name.encode()) <= 255
        assert report.file_name.startswith("mx.receiver.example!")
        assert report.file_name.split("!")[2] == "1767225600"
        assert report.domain in report.xml.decode()


def test_a_day_is_told_by_its_first_and_last_second() -> None:
    first, last = bounds_of("20260101")
    assert (first, last - first) == (1_767_225_600, 86_399)


def test_there_is_no_report_about_nothing_nor_about_what_is_no_name() -> None:
    with pytest.raises(ReportError, match="nothing"):
        make_report(CONFIG, DAY, Counts(PUBLISHED, {}))
    with pytest.raises(ReportError, match="no domain name"):
        make_report(CONFIG, DAY, Counts(type(PUBLISHED)("../x", *["none"] * 3, "r", "r", "n", "psl"), {ROW: 1}))


@pytest.mark.parametrize(
    "name",
    [
        "<script>&amp;]]>.example",
        "a\x00b\x08c.example",
        '"><!ENTITY x SYSTEM "file:///etc/passwd">&x;',
        "\ud800\udfff\ufffe\uffff.example",
        "x" * 5000,
    ],
)
def test_text_of_strangers_is_text(name: str) -> None:
    hostile = row(
        header_from=name,
        envelope_from=name,
        envelope_to=name,
        reasons=(("other", name),),
        signatures=((name, name, "pass"),),
        spf_domain=name,
    )
    report = make_report(CONFIG, DAY, Counts(PUBLISHED, {hostile: 1}))
    (told,) = texts(report.xml, "header_from")
    assert len(told) <= 320
    assert "\x00" not in told
    plain = make_report(CONFIG, DAY, Counts(PUBLISHED, {row(reasons=(("other", "x"),)): 1}))
    assert [one.tag for one in parsed(report.xml).iter()] == [one.tag for one in parsed(plain.xml).iter()]
    if name.startswith("<script>"):
        assert told == name


NAMES = st.text(min_size=1, max_size=400)
ROWS = st.builds(
    Row,
    source_ip=st.ip_addresses().map(str),
    header_from=NAMES,
    envelope_from=st.text(),
    envelope_to=st.text(),
    disposition=st.sampled_from(["none", "pass", "quarantine", "reject"]),
    dkim=st.just("fail"),
    spf=st.just("pass"),
    reasons=st.lists(st.tuples(st.just("other"), st.text()), max_size=2).map(tuple),
    signatures=st.lists(st.tuples(NAMES, NAMES, st.just("pass")), max_size=3).map(tuple),
    spf_domain=st.text(),
    spf_result=st.just("none"),
)


@given(ROWS)
def test_whatever_stands_in_a_row_the_xml_is_valid(any_row: Row) -> None:
    assert make_report(CONFIG, DAY, Counts(PUBLISHED, {any_row: 1})).xml.startswith(b"<?xml")


def broken(old: str, new: str) -> bytes:
    text = GOLDEN.read_text()
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<version>1.0", "<version>2.0"),
        (NAMESPACE, "http://dmarc.org/dmarc-xml/0.1"),
        ("<disposition>pass", "<disposition>accepted"),
        ("<scope>mfrom", "<scope>helo"),
        ("<type>other", "<type>forwarded"),
        ("<selector>s1</selector>", ""),
        ("<count>3", "<count>0"),
        ("<count>3", "<count>-1"),
        ("<source_ip>192.0.2.1", "<source_ip>192.0.2.256"),
        ("<source_ip>2001:db8::1", "<source_ip>2001:db8::1::2"),
        ("<result>softfail", "<result>hardfail"),
        ("<p>reject", "<p>bounce"),
        ("<header_from>news.example.org</header_from>", ""),
        ("<dkim>pass</dkim>\n        <spf>fail</spf>", "<spf>fail</spf><dkim>pass</dkim>"),
        ("<report_id>2026-01-01_example.org@mx", "<report_id>2026 01@mx"),
        ("<domain>example.org</domain>", "<domain>example.org</domain><pct>100</pct>"),
    ],
)
def test_the_schema_finds_what_the_rfc_does_not_allow(old: str, new: str) -> None:
    with pytest.raises(ReportError, match="not valid"):
        check(broken(old, new))


def test_what_is_no_xml_is_told_so() -> None:
    check(GOLDEN.read_bytes())
    with pytest.raises(ReportError, match="no XML"):
        check(GOLDEN.read_bytes()[:-5])


def test_the_sample_of_other_reporters_is_valid_too() -> None:
    """In the order of RFC 9990's own tables, with everything optional left out or filled in."""
    check(
        f"""<feedback xmlns="{NAMESPACE}"><report_metadata><org_name>A</org_name><email>a@b.example</email>
        <extra_contact_info lang="en">https://b.example/</extra_contact_info><report_id>x</report_id>
        <date_range><begin>1</begin><end>2</end></date_range></report_metadata>
        <policy_published><domain>c.example</domain><p>none</p><sp>none</sp><np>reject</np><fo>1</fo>
        <testing>n</testing><discovery_method>psl</discovery_method></policy_published>
        <record><row><source_ip>192.0.2.7</source_ip><count>1</count><policy_evaluated><disposition>none</disposition>
        <dkim>fail</dkim><spf>fail</spf><reason><type>mailing_list</type><comment lang="de">Liste</comment></reason>
        </policy_evaluated></row><identifiers><envelope_from/><header_from>c.example</header_from></identifiers>
        <auth_results/></record></feedback>""".encode()
    )
