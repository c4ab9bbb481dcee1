import json
import random
from pathlib import Path

import pytest
from lxml import etree

from cli import evaluate as command
from cli.evaluate import EXIT_FAILED, EXIT_USAGE, evaluate

SPAM_TEXT = "click here to claim your free prize money now limited offer guaranteed winner"
HAM_TEXT = "the compiler patch failed to build on my machine so i reverted that change yesterday"
FOLDERS = ("easy_ham", "easy_ham_2", "hard_ham", "spam", "spam_2")


class Told:
    """A bogofilter that says what the subject says, and keeps what it was shown."""

    def __init__(self, _: Path) -> None:
        self.learned: list[bytes] = []
        shown.append(self)

    def score(self, message):
        return 1.0 if b"spam" in message.header_block else -1.0

    def learn(self, message, _spam):
        self.learned.append(message.header_block)

    def learn_all(self, messages, advance):
        self.learned += [message.header_block for message, _ in messages]
        advance(len(messages))

    def score_all(self, messages, advance):
        advance(len(messages))
        return [self.score(message) for message in messages]


shown: list[Told] = []


@pytest.fixture(autouse=True)
def told_bogofilter(monkeypatch):
    shown.clear()
    monkeypatch.setattr(command.peers, "is_installed", lambda: True)
    monkeypatch.setattr(command.peers, "Bogofilter", Told)


def fill(folder: Path, *, spam: bool, count: int = 20) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        draw = random.Random(f"{folder.name}{number}")
        words = draw.sample((SPAM_TEXT if spam else HAM_TEXT).split(), 10)
        date = f"Date: Thu, {1 + number} Aug 2002 10:00:00 +0000\nX-Trace: here\n"
        subject = f"{folder.name} {'spam' if spam else 'ham'} {number}"
        (folder / str(number)).write_text(f"Subject: {subject}\n{date}\n{' '.join(words)}\n")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        fill(tmp_path / "corpus" / folder, spam=folder.startswith("spam"))
    return tmp_path / "corpus"


@pytest.fixture
def own(tmp_path: Path) -> dict[str, list[Path]]:
    return {
        "ham": [fill(tmp_path / "own" / "good", spam=False)],
        "spam": [fill(tmp_path / "own" / "bad", spam=True, count=10)],
    }


def figures(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_mail_of_ones_own_is_measured_with_the_shipped_model(own, capsys):
    evaluate(**own, as_json=True)
    found = figures(capsys)
    (ours,) = found["filters"]
    assert ours["name"] == "tamis"
    assert (ours["figures"]["spam"], ours["figures"]["ham"]) == (10, 20)
    assert 0 <= ours["figures"]["one_minus_auc_percent"]["value"] <= 100
    assert [one["false_positive_rate"] for one in ours["figures"]["recalls"]] == [0.01, 0.001]
    assert set(ours["figures"]["slices"]) == {"size", "text", "script", "language"}


def test_of_the_corpus_the_held_out_part_is_measured_and_bogofilter_learns_the_other(corpus, capsys):
    evaluate(corpus=corpus, as_json=True)
    ours, peer = figures(capsys)["filters"]
    measured = ours["figures"]["spam"] + ours["figures"]["ham"]
    assert peer["figures"]["one_minus_auc_percent"]["value"] == 0
    assert measured + len(shown[0].learned) == 100
    assert 10 < measured < 60


def test_beside_mail_of_ones_own_the_corpus_is_what_bogofilter_learns(corpus, own, capsys):
    evaluate(corpus=corpus, **own, as_json=True)
    ours, _ = figures(capsys)["filters"]
    assert (ours["figures"]["spam"], ours["figures"]["ham"]) == (10, 20)
    assert 40 < len(shown[0].learned) < 90


def test_online_every_message_of_the_corpus_is_learned_in_date_order(corpus, capsys):
    evaluate(corpus=corpus, online=True, as_json=True)
    found = figures(capsys)
    assert found["online"]
    ours, _ = found["filters"]
    assert ours["figures"]["spam"] + ours["figures"]["ham"] == 100 == len(shown[0].learned)
    days = [int(block.split(b"Thu, ")[1].split()[0]) for block in shown[0].learned]
    assert days == sorted(days)


def test_traces_are_taken_out_unless_they_are_wanted(own, capsys):
    evaluate(**own, online=True, as_json=True)
    assert not any(b"X-Trace" in block for block in shown[0].learned)
    evaluate(**own, online=True, as_json=True, as_is=True)
    assert all(b"X-Trace" in block for block in shown[1].learned)
    capsys.readouterr()


def test_the_tables_name_every_filter_and_what_was_skipped(own, corpus, capsys):
    (own["ham"][0] / "empty").write_text("")
    evaluate(**own, corpus=corpus)
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("skipped: 1 empty", "tamis", "bogofilter", "(1-AUC) %", "Brier", "plain text", "too short"):
        assert words in printed


def test_the_page_is_well_formed_and_loads_nothing(own, corpus, tmp_path, capsys):
    evaluate(**own, corpus=corpus, html=tmp_path / "page.html")
    capsys.readouterr()
    text = (tmp_path / "page.html").read_text()
    tree = etree.HTML(text)
    assert len(tree.findall(".//svg")) == 2
    assert len(tree.findall(".//polyline")) == 2
    assert len(tree.findall(".//circle")) >= 3
    assert 'name="viewport"' in text
    for word in ("<script", "http:", "https:", "url(", "src=", "@import", "nan", "inf"):
        assert word not in text.lower().replace("information", "")


def test_a_run_that_fails_leaves_no_page_and_spoils_none(own, tmp_path, capsys):
    (tmp_path / "old.html").write_text("old")
    for name in ("old.html", "new.html"):
        with pytest.raises(SystemExit):
            evaluate(ham=[tmp_path / "nowhere"], spam=own["spam"], html=tmp_path / name)
    capsys.readouterr()
    assert (tmp_path / "old.html").read_text() == "old"
    assert not (tmp_path / "new.html").exists()


def test_without_bogofilter_ours_is_measured_alone(corpus, capsys, monkeypatch):
    evaluate(corpus=corpus, as_json=True, bogofilter=False)
    assert len(figures(capsys)["filters"]) == 1
    monkeypatch.setattr(command.peers, "is_installed", lambda: False)
    evaluate(corpus=corpus, as_json=True)
    assert len(figures(capsys)["filters"]) == 1


def test_mistakes_end_in_one_line_and_an_exit_code(own, tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    mistakes = [
        ({}, EXIT_USAGE, "give --corpus DIR, or --ham PATH and --spam PATH"),
        ({"ham": own["ham"]}, EXIT_USAGE, "give --ham and --spam together"),
        (own | {"html": tmp_path / "no" / "page.html"}, EXIT_USAGE, "--html"),
        ({"corpus": tmp_path / "nowhere"}, EXIT_FAILED, "no mail in easy_ham"),
        (own | {"ham": [tmp_path / "nowhere"]}, EXIT_FAILED, "no such file"),
        (own | {"ham": [tmp_path / "nothing"]}, EXIT_FAILED, "no ham to read"),
        (own | {"model": tmp_path / "no.safetensors"}, EXIT_FAILED, "no.json"),
    ]
    for options, code, message in mistakes:
        with pytest.raises(SystemExit) as ended:
            evaluate(**options)
        assert ended.value.code == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("tamis evaluate: ")
        assert message in line
