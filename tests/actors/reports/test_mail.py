import email
import email.policy
import gzip

import msgspec

from actors.reports.mail import make_mail
from actors.reports.report import make_report
from actors.reports.row import Counts
from tests.actors.reports.samples import CONFIG, COUNTS, DAY, PUBLISHED, ROW
from tests.fakes import NOW_S

REPORT = make_report(CONFIG, DAY, COUNTS)


def test_the_mail_is_what_readers_of_reports_look_for() -> None:
    raw = make_mail(CONFIG, REPORT, "d@example.org", NOW_S + 86_400)
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    subject = (
        "Report Domain: example.org Submitter: mx.receiver.example "
        "Report-ID: <2026-01-01_example.org@mx.receiver.example>"
    )
    assert mail["Subject"] == subject
    assert mail["From"] == "dmarc@receiver.example"
    assert mail["To"] == "d@example.org"
    assert mail["Message-ID"] == "<2026-01-01_example.org@mx.receiver.example>"
    assert mail["Date"].startswith("Fri, 02 Jan 2026 00:00:00")
    assert mail["Auto-Submitted"] == "auto-generated"
    (attachment,) = mail.iter_attachments()
    assert attachment.get_content_type() == "application/gzip"
    assert attachment.get_filename() == REPORT.file_name
    assert gzip.decompress(attachment.get_content()) == REPORT.xml
    body = mail.get_body()
    assert body is not None
    assert "3 messages" in body.get_content()


def test_it_is_plain_ascii_in_lines_that_everybody_takes() -> None:
    raw = make_mail(CONFIG, REPORT, "d@example.org", NOW_S)
    assert raw.isascii()
    assert all(len(line) < 100 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_the_longest_names_are_told_as_they_are() -> None:
    longest = ".".join(["d" * 62] * 4)
    published = type(PUBLISHED)(longest, *["none"] * 3, "r", "r", "n", "treewalk")
    report = make_report(CONFIG, DAY, Counts(published, {ROW: 1}))
    raw = make_mail(CONFIG, report, f"{'l' * 64}@{longest}", NOW_S)
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Subject"].startswith(f"Report Domain: {longest} Submitter: ")
    assert b"=?" not in raw.partition(b"\r\n\r\n")[0]
    assert all(len(line) < 998 for line in raw.split(b"\r\n"))
    (attachment,) = mail.iter_attachments()
    assert attachment.get_filename() == report.file_name


def test_a_cells_own_report_has_a_message_id_too() -> None:
    config = msgspec.structs.replace(CONFIG, cell="a1")
    report = make_report(config, DAY, COUNTS)
    mail = email.message_from_bytes(make_mail(config, report, "d@example.org", NOW_S), policy=email.policy.default)
    assert mail["Message-ID"] == f"<{report.report_id}@mx.receiver.example>"
    assert mail["Subject"].endswith(f"Report-ID: <{report.report_id}>")
    (attachment,) = mail.iter_attachments()
    assert attachment.get_filename() == report.file_name


def test_made_again_it_differs_in_its_date_only() -> None:
    one, other = (make_mail(CONFIG, REPORT, "d@example.org", NOW_S + later_s).split(b"\r\n") for later_s in (0, 3600))
    assert [line[:5] for line, again in zip(one, other, strict=True) if line != again] == [b"Date:"]
