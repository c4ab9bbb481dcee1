"""The mixed corpus: half SpamAssassin's that no model was trained on, half signed mail whose signatures do not expire.

Every message carries what is true of it: whether it is spam, and whether a signature of it was good when it was signed.
The zone serves the signing keys and the DMARC records that receivers saw.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from actors.classifier.corpus import Sample, is_held_out, read_corpus
from bench.nameserver import Zone, txt_rdata
from cli.edits import Mail
from cli.mail_file import prepare

RECIPIENT = b"recipient@example.org"
SENDER = b"bench@example.com"
CLIENT_IP = "192.0.2.1"
CLIENT_NAME = "mail.example.com"
_HOST_NAME = re.compile(r"(?:[a-z0-9-]{1,63}\.){1,9}[a-z]{2,20}")
_EXPIRES = re.compile(rb"(?:^|;)[ \t\r\n]*x[ \t\r\n]*=")
_SIGNATURES = (b"dkim-signature", b"arc-message-signature", b"arc-seal")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One mail and what a filter should find."""

    mail: Mail
    spam: bool | None
    """None: nobody said."""
    signed: bool
    """A DKIM signature of it was good at signing time."""


def mixed(corpora: Path) -> list[Labelled]:
    """The whole mixed corpus, spam, ham and signed mail taking turns, always in the same order. Raises OSError."""
    old = [_labelled(sample.raw, spam=sample.spam) for sample in held_out(corpora)]
    signed = list(_signed(corpora / "signed_mail"))
    return [one for pair in zip(old, signed, strict=False) for one in pair]


def held_out(corpora: Path) -> Iterator[Sample]:
    """SpamAssassin's mail that the shipped model has not seen; its order is that of hashes, so spam is everywhere."""
    return (sample for sample in read_corpus(corpora / "spamassassin").samples if is_held_out(sample.raw))


def training(corpora: Path, *, spam: bool) -> list[bytes]:
    """The mail that the shipped model was trained on, for the other filters to learn from."""
    return [
        one.raw
        for one in read_corpus(corpora / "spamassassin").samples
        if one.spam == spam and not is_held_out(one.raw)
    ]


def zone(corpora: Path, mails: Iterable[Labelled]) -> Zone:
    """The keys of the signed mail, DMARC records as receivers saw them, and a sender's world that is in order.

    Every envelope sender's domain has a host for mail, and the client a name: rspamd asks for both.
    """
    folder = corpora / "signed_mail"
    records: dict[tuple[str, str], list[str]] = {
        (ip_address(CLIENT_IP).reverse_pointer, "PTR"): [f"{CLIENT_NAME}."],
        (CLIENT_NAME, "A"): [CLIENT_IP],
    }
    for one in mails:
        domain = one.mail.sender.decode("latin-1").rpartition("@")[2].lower()
        if _HOST_NAME.fullmatch(domain):
            records[domain, "MX"] = [f"10 mx.{domain}."]
            records[f"mx.{domain}", "A"] = records[domain, "A"] = [CLIENT_IP]
    for line in (folder / "keys.tsv").read_text().splitlines():
        name, _, text = line.partition("\t")
        records[name.lower().rstrip("."), "TXT"] = [txt_rdata(text.encode())]
    with (folder / "dmarc.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            record = f"v=DMARC1; p={row['policy_p']}"
            records[f"_dmarc.{row['header_from'].lower()}", "TXT"] = [txt_rdata(record.encode())]
    return records


def _labelled(raw: bytes, *, spam: bool | None = None, signed: bool = False) -> Labelled:
    mail = prepare(raw, recipients=[RECIPIENT]).as_mail()
    return Labelled(mail if mail.sender else replace(mail, sender=SENDER), spam, signed)


def _signed(folder: Path) -> Iterator[Labelled]:
    with (folder / "dkim.tsv").open() as file:
        good = {row["file"] for row in csv.DictReader(file, delimiter="\t") if row["verdict_at_signing_time"] == "pass"}
    for path in sorted((folder / "mail").iterdir()):
        one = _labelled(path.read_bytes(), signed=path.name in good)
        if not any(name.lower() in _SIGNATURES and _EXPIRES.search(value) for name, value in one.mail.fields):
            yield one
