"""Sample mails of our own, with the DNS that judges them: for the demo, the acceptance run and the real-MTA tests.

Keys are made at run time; nothing here is secret and nothing is copied from anybody's mail.
"""

import base64
import io
import zipfile
from dataclasses import dataclass

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from actors.policy.gtube import GTUBE
from bench.nameserver import Zone, txt_rdata

CLIENT_IP = "192.0.2.25"
# In two halves, so that scanners do not take this file for the thing.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"

_SIGNED_HEADERS = [b"from", b"to", b"subject", b"date", b"message-id"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One mail with its envelope and what a reader expects of it."""

    name: str
    sender: bytes
    raw: bytes
    expected: str
    """Action that the shipped settings give."""


class SampleMaker:
    """Makes the sample mails and the zone that goes with them."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def zone(self) -> Zone:
        """DNS of the senders: SPF, DKIM key and DMARC of shop.example, a strict bank.example."""
        key = b"v=DKIM1; k=rsa; p=" + base64.b64encode(self._public)
        return {
            ("shop.example", "TXT"): [txt_rdata(f"v=spf1 ip4:{CLIENT_IP} -all".encode())],
            ("news._domainkey.shop.example", "TXT"): [txt_rdata(key)],
            ("_dmarc.shop.example", "TXT"): [txt_rdata(b"v=DMARC1; p=reject")],
            ("shop.example", "MX"): ["10 mx.shop.example."],
            ("mx.shop.example", "A"): [CLIENT_IP],
            ("bank.example", "TXT"): [txt_rdata(b"v=spf1 ip4:198.51.100.7 -all")],
            ("_dmarc.bank.example", "TXT"): [txt_rdata(b"v=DMARC1; p=reject; adkim=s")],
            ("friends.example", "TXT"): [txt_rdata(f"v=spf1 ip4:{CLIENT_IP} ~all".encode())],
        }

    def sign(self, raw: bytes) -> bytes:
        """Sign as news.shop.example would (RFC 6376, relaxed/relaxed)."""
        signature: bytes = dkim.sign(
            raw,
            b"news",
            b"shop.example",
            self._pem,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=_SIGNED_HEADERS,
        )
        return signature + raw

    def samples(self) -> list[Sample]:
        """All samples, ordinary ones first."""
        signed = self.sign(_mail("Anna <anna@shop.example>", "Your order 4711 has left our warehouse", ORDER))
        return [
            Sample("signed order", b"anna@shop.example", signed, "accept"),
            Sample(
                "personal note",
                b"ben@friends.example",
                _mail(
                    "Ben <ben@friends.example>", "Saturday", "Shall we meet at the lake at ten? I bring the bread.\n"
                ),
                "accept",
            ),
            Sample(
                "GTUBE", b"ben@friends.example", _mail("ben@friends.example", "test", GTUBE.decode() + "\n"), "reject"
            ),
            Sample("EICAR attachment", b"ben@friends.example", eicar_mail(), "reject"),
            Sample(
                "forged bank",
                b"security@bank.example",
                _mail("Bank <security@bank.example>", "Sign in", BANK),
                "add_header",
            ),
        ]


ORDER = """Dear customer,

the books that you ordered on Monday are on their way. The parcel should reach you on Thursday.
The invoice is in the parcel.

Anna, shop.example
"""
BANK = """Dear customer,

your account has been limited. Click http://bank-example.signin.invalid/verify and confirm your password and
credit card within 24 hours, or your money will be lost!!!
"""


def _mail(sender: str, subject: str, text: str) -> bytes:
    lines = [
        f"From: {sender}",
        "To: reader@recipient.example",
        f"Subject: {subject}",
        "Date: Sun, 22 Nov 2026 10:00:00 +0000",
        f"Message-ID: <{abs(hash((sender, subject))):x}@samples.example>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "",
        *text.splitlines(),
        "",
    ]
    return "\r\n".join(lines).encode()


def eicar_mail() -> bytes:
    """A mail with the EICAR test file in a zip, attached in base64: found only by whoever decodes and unpacks it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tool.com", EICAR)
    encoded = base64.b64encode(file.getvalue()).decode()
    lines = [
        "From: ben@friends.example",
        "To: reader@recipient.example",
        "Subject: the file you asked for",
        "Date: Sun, 22 Nov 2026 10:00:00 +0000",
        "Message-ID: <eicar@samples.example>",
        "MIME-Version: 1.0",
        'Content-Type: multipart/mixed; boundary="frontier"',
        "",
        "--frontier",
        "Content-Type: text/plain",
        "",
        "Here it is.",
        "--frontier",
        'Content-Type: application/zip; name="tool.zip"',
        "Content-Transfer-Encoding: base64",
        "",
        *[encoded[start : start + 76] for start in range(0, len(encoded), 76)],
        "--frontier--",
        "",
    ]
    return "\r\n".join(lines).encode()
