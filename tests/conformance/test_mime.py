"""Every mail of the corpora, odd ones first, gives text, features and parts without an exception."""

import json
from pathlib import Path

import pytest

from actors.antivirus.archives import Allowance
from actors.antivirus.contents import contents
from actors.classifier import features
from actors.classifier.corpus import as_message
from actors.mime import mail_text

pytestmark = pytest.mark.data

CORPORA = (
    "conformance/mime/cpython",
    "conformance/mime/eml_json/eml",
    "conformance/mail/rspamd",
    "conformance/bounces",
    "spamassassin",
)


@pytest.mark.parametrize("corpus", CORPORA)
def test_no_mail_raises(corpora: Path, corpus: str) -> None:
    mails = [path for path in (corpora / corpus).rglob("*") if path.is_file() and path.suffix != ".json"]
    assert mails
    for path in mails:
        message = as_message(path.read_bytes())
        mail_text(message)
        assert list(contents(message, Allowance()))
        assert len(features.grams(message).distinct) > 0


def test_the_text_bodies_of_eml_json_are_found(corpora: Path) -> None:
    """The expected parse of each mail lists its text; what is readable there must be readable for us."""
    found, expected = 0, 0
    for path in sorted((corpora / "conformance/mime/eml_json/eml").rglob("*.json")):
        mail = path.with_suffix(".eml")
        if not mail.exists():
            continue
        text = mail_text(as_message(mail.read_bytes()))
        haystack = "".join((text.plain + text.html).split())
        for wanted in _texts(json.loads(path.read_text(encoding="utf-8"))):
            expected += 1
            found += "".join(wanted.split())[:200] in haystack
    assert expected > 0
    # The rest are uuencode, text in audio parts and structures that every parser reads in another way.
    assert found / expected >= 0.91, f"{found} of {expected}"


def test_almost_no_real_mail_is_without_text(corpora: Path) -> None:
    mails = [as_message(path.read_bytes()) for path in (corpora / "spamassassin").rglob("*") if path.is_file()]
    silent = [mail for mail in mails if mail.body.strip() and not (text := mail_text(mail)).plain and not text.html]
    assert len(silent) <= 2


def _texts(parsed: dict) -> list[str]:
    bodies = [part["body"] for part in parsed["parts"] if isinstance(part["body"], dict)]
    return [text for body in bodies for kind in ("Text", "Html") if (text := body.get(kind)) and text.strip()]
