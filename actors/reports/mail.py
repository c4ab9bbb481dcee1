"""A report as a mail (RFC 9990 section 3.5.2): one attachment, in gzip, with the subject that its readers look for.

Every value is checked before: names and addresses by `names.py`. Nothing here is random: the mail of the same report to
the same address differs in its Date only.
"""

from email import policy
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formatdate
from hashlib import sha256

from actors.reports.config import DmarcReportConfig
from actors.reports.report import Report

_POLICY = policy.compat32.clone(linesep="\r\n", max_line_length=78)
"""The newer policies turn a long word of a Subject into encoded-words."""


def make_mail(config: DmarcReportConfig, report: Report, address: str, now_s: float) -> bytes:
    """The whole message, lines ended by CRLF."""
    boundary = sha256(report.report_id.encode()).hexdigest()[:32]
    mail = MIMEMultipart("mixed", boundary)
    mail["From"] = config.contact
    mail["To"] = address
    mail["Subject"] = f"Report Domain: {report.domain} Submitter: {config.domain} Report-ID: <{report.report_id}>"
    mail["Date"] = formatdate(now_s)
    mail["Message-ID"] = f"<{report.report_id if '@' in report.report_id else f'{report.report_id}@{config.domain}'}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.attach(MIMEText(_annotation(config, report), "plain", "us-ascii"))
    attachment = MIMEApplication(report.packed, "gzip")
    attachment.add_header("Content-Disposition", "attachment", filename=report.file_name)
    mail.attach(attachment)
    return mail.as_bytes(policy=_POLICY)


def _annotation(config: DmarcReportConfig, report: Report) -> str:
    day = f"{report.day[:4]}-{report.day[4:6]}-{report.day[6:]}"
    return (
        f"This is a DMARC aggregate report (RFC 9990) from {config.domain} about mail that says it is\n"
        f"from {report.domain}, received on {day} (UTC): {report.messages} messages.\n"
    )
