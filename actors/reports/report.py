"""The counts of a day about one domain as a report: XML of RFC 9990, checked against its schema, in gzip.

The same counts give the same bytes, the same report id and the same file name, whenever and wherever they are made.
Every text that came from outside is cut and has what XML cannot hold replaced; lxml escapes the rest.
"""

import gzip
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from lxml import etree

from actors.reports.config import DmarcReportConfig
from actors.reports.names import is_domain
from actors.reports.row import Counts, Published, Row

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
_SCHEMA = Path(__file__).with_name("dmarc-2.0.xsd")
_TEXT_CHARS_MAX = 320
_DIGEST_CHARS = 24
_FILE_NAME_BYTES_MAX = 255
"""Of one name, all of it ASCII: NAME_MAX of Linux."""
_NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
"""XML 1.0 section 2.2: what is no character there."""


class ReportError(Exception):
    """These counts make no valid report; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report, ready to leave."""

    day: str
    domain: str
    report_id: str
    file_name: str
    messages: int
    rows: int
    dropped: int
    xml: bytes
    packed: bytes
    """The XML in gzip."""


def make_report(config: DmarcReportConfig, day: str, counts: Counts) -> Report:
    """Raises ReportError when there is nothing to say, or nothing that can be said so."""
    domain = counts.published.domain
    if not is_domain(domain):
        raise ReportError("its name is no domain name")
    if not counts.rows:
        raise ReportError("nothing was counted")
    report_id, unique = _names_of(config, day, domain)
    xml = _xml(config, report_id, day, counts)
    return Report(
        day=day,
        domain=domain,
        report_id=report_id,
        file_name=_file_name(config.domain, domain, day, unique),
        messages=sum(counts.rows.values()),
        rows=len(counts.rows),
        dropped=counts.dropped,
        xml=xml,
        packed=gzip.compress(xml, mtime=0),
    )


def _names_of(config: DmarcReportConfig, day: str, domain: str) -> tuple[str, str]:
    """(Report-ID, what it adds to the file name): RFC 9990 sections 3.5.1 and 3.5.2."""
    if not config.cell:
        # Unique, since there is one report a day.
        return f"{day[:4]}-{day[4:6]}-{day[6:]}_{domain}@{config.domain}", ""
    # The unique-id of a file name is the same, and of letters and digits only.
    unique = f"{day}{config.cell}{_digest(domain)}"
    return unique, f"!{unique}"


def _file_name(receiver: str, domain: str, day: str, unique: str) -> str:
    """As RFC 9990 section 3.5.1 wants it; a digest stands for a domain with which no file system would take it."""
    begin_s, end_s = bounds_of(day)
    rest = f"!{begin_s}!{end_s}{unique}.xml.gz"
    whole = f"{receiver}!{domain}{rest}"
    return whole if len(whole) <= _FILE_NAME_BYTES_MAX else f"{receiver}!{_digest(domain)}{rest}"


def _digest(domain: str) -> str:
    return sha256(domain.encode()).hexdigest()[:_DIGEST_CHARS]


def bounds_of(day: str) -> tuple[int, int]:
    """(first, last) second of a UTC day such as "20261122". Raises ValueError."""
    begin = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    return round(begin.timestamp()), round((begin + timedelta(days=1)).timestamp()) - 1


def check(xml: bytes) -> None:
    """Raises ReportError unless it is valid by the schema."""
    schema = _schema()
    try:
        valid = schema.validate(etree.fromstring(xml, etree.XMLParser(resolve_entities=False, no_network=True)))
    except etree.XMLSyntaxError as error:
        raise ReportError(f"no XML: {error.msg}") from None
    if not valid:
        raise ReportError(f"not valid: {schema.error_log[0].message}")


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(_SCHEMA))


@cache
def _generator() -> str:
    """Looked up once: that reads files, which takes a third of the time of a short report."""
    return f"Tamis {version('tamis')}"


def _xml(config: DmarcReportConfig, report_id: str, day: str, counts: Counts) -> bytes:
    root = etree.Element(_named("feedback"), nsmap={None: NAMESPACE})
    _add(root, "version", "1.0")
    begin_s, end_s = bounds_of(day)
    metadata = _add(root, "report_metadata")
    _add(metadata, "org_name", config.org_name or config.domain)
    _add(metadata, "email", config.contact)
    _add_known(metadata, "extra_contact_info", config.extra_contact_info)
    _add(metadata, "report_id", report_id)
    date_range = _add(metadata, "date_range")
    _add(date_range, "begin", str(begin_s))
    _add(date_range, "end", str(end_s))
    if counts.dropped:
        _add(metadata, "error", f"{counts.dropped} messages more were not recorded: too many distinct rows")
    _add(metadata, "generator", _generator())
    _add_published(root, counts.published)
    for row, messages in sorted(counts.rows.items()):
        _add_record(root, row, messages)
    xml: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True)
    check(xml)
    return xml


def _add_published(root: etree._Element, published: Published) -> None:
    policy = _add(root, "policy_published")
    _add(policy, "domain", published.domain)
    _add(policy, "discovery_method", published.discovery)
    for name in ("p", "sp", "np", "fo", "adkim", "aspf", "testing"):
        _add(policy, name, getattr(published, name))


def _add_record(root: etree._Element, row: Row, messages: int) -> None:
    record = _add(root, "record")
    line = _add(record, "row")
    _add(line, "source_ip", row.source_ip)
    _add(line, "count", str(messages))
    evaluated = _add(line, "policy_evaluated")
    _add(evaluated, "disposition", row.disposition)
    _add(evaluated, "dkim", row.dkim)
    _add(evaluated, "spf", row.spf)
    for kind, comment in row.reasons:
        reason = _add(evaluated, "reason")
        _add(reason, "type", kind)
        _add_known(reason, "comment", comment)
    identifiers = _add(record, "identifiers")
    _add(identifiers, "header_from", row.header_from)
    _add_known(identifiers, "envelope_from", row.envelope_from)
    _add_known(identifiers, "envelope_to", row.envelope_to)
    results = _add(record, "auth_results")
    for domain, selector, result in row.signatures:
        signature = _add(results, "dkim")
        _add(signature, "domain", domain)
        _add(signature, "selector", selector)
        _add(signature, "result", result)
    if row.spf_domain:
        spf = _add(results, "spf")
        _add(spf, "domain", row.spf_domain)
        _add(spf, "scope", "mfrom")
        _add(spf, "result", row.spf_result)


def _add_known(parent: etree._Element, name: str, text: str) -> None:
    """An optional element: nothing says nothing."""
    if text:
        _add(parent, name, text)


def _add(parent: etree._Element, name: str, text: str = "") -> etree._Element:
    element = etree.SubElement(parent, _named(name))
    if text:
        element.text = _NOT_XML.sub("\ufffd", text[:_TEXT_CHARS_MAX])
    return element


def _named(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
