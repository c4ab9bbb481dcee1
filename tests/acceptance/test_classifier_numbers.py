"""What makes a number of `make accept-classifier` ok or short."""

import pytest

from actors.classifier.corpus import Sample, as_message
from actors.mime import mail_text
from tests.acceptance import classifier_numbers
from tests.acceptance.classifier_hostile import BAD_INPUT, empty_bodies, padded, strongest_ham_words
from tests.acceptance.classifier_numbers import RECALL_MIN, SCORE_MS_MAX
from tests.acceptance.classifier_rows import GROUPS
from tests.acceptance.report import Report, listed_names

MISTAKES = {f"bad_{verb}_{kind}" for verb in ("train", "evaluate") for kind in ("no_ham", "unreadable", "duplicate")}
OTHERS = {"online_one_minus_auc_to_bogofilter", "train_reproduces_the_shipped_model", "bad_padding_with_ham_words"}


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return {line.split()[1]: line.split()[0] for line in capsys.readouterr().out.splitlines()}


@pytest.fixture(autouse=True)
def somewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(classifier_numbers, "corpora", lambda: tmp_path)


def evaluated(recall: float, area: float) -> dict:
    figure = {"value": recall, "low": recall, "high": recall}
    ours = {"recalls": [{"recall": figure}] * 2, "one_minus_auc_percent": {"value": area}}
    peer = {"recalls": [{"recall": figure}] * 2, "one_minus_auc_percent": {"value": 0.2}}
    return {"filters": [{"figures": ours}, {"figures": peer}]}


def test_every_line_that_is_measured_is_listed():
    measured = {row.name for group in GROUPS for row in group.rows}
    measured |= {*BAD_INPUT, *RECALL_MIN, *SCORE_MS_MAX, *MISTAKES, *OTHERS}
    assert measured == set(listed_names("classifier"))
    assert len(listed_names("classifier")) == len(measured)


@pytest.mark.parametrize(("recall", "verdicts"), [(0.99, {"ok"}), (0.985, {"ok", "short"}), (0.9, {"short"})])
def test_recall_has_its_bounds(recall, verdicts, monkeypatch, capsys):
    monkeypatch.setattr(classifier_numbers, "_evaluated", lambda *_: evaluated(recall, 0.1))
    classifier_numbers.unseen(Report("classifier"))
    assert set(lines(capsys).values()) == verdicts


@pytest.mark.parametrize(("area", "verdict"), [(0.1, "ok"), (0.101, "short")])
def test_half_of_bogofilter_is_the_bound(area, verdict, monkeypatch, capsys):
    monkeypatch.setattr(classifier_numbers, "_evaluated", lambda *_: evaluated(1, area))
    classifier_numbers.online(Report("classifier"))
    assert lines(capsys) == {"online_one_minus_auc_to_bogofilter": verdict}


def test_without_bogofilter_there_is_no_line(monkeypatch):
    alone = evaluated(1, 0.1)
    alone["filters"].pop()
    monkeypatch.setattr(classifier_numbers, "_evaluated", lambda *_: alone)
    with pytest.raises(AssertionError, match="not installed"):
        classifier_numbers.online(Report("classifier"))


def test_the_strongest_words_are_those_that_lower_the_answer_most():
    ham = [Sample("", b"Subject: x\n\nalpha beta gamma delta\n", spam=False)] * 10
    worth = {b"alpha": 1.0, b"beta": 3.0, b"gamma": 2.0}

    def log_odds(message):
        return -sum(value for word, value in worth.items() if word in message.body)

    assert strongest_ham_words(log_odds, ham, 2) == ["beta", "gamma"]


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\n\nhello\n",
        b"Content-Type: text/html\n\n<html><body>hello</body></html>\n",
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n",
        b'Content-Type: multipart/alternative; boundary="=_b"\n\n--=_b\n\nhello\n--=_b--\n',
    ],
)
def test_the_pad_is_text_of_the_message_beside_what_was_there(raw):
    text = mail_text(padded(as_message(raw), [f"word{number}" for number in range(25)]))
    seen = text.plain + text.html
    assert "hello" in seen
    assert "word0 word1" in seen
    assert "word24" in seen


def test_an_empty_message_can_be_padded_too():
    for message in empty_bodies():
        padded(message, ["word"])
