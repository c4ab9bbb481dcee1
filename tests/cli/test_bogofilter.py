import math
import random
from pathlib import Path

import pytest

from actors.classifier.corpus import as_message
from actors.model import Message
from cli.bogofilter import Bogofilter, BogofilterError, is_installed, mail_of

installed = pytest.mark.skipif(not is_installed(), reason="needs Debian's bogofilter: tests/services/install peers")


def mail(*, spam: bool, number: int) -> Message:
    words = "prize money winner offer click" if spam else "patch compiler kernel commit review"
    text = " ".join(random.Random(number).choices(words.split(), k=8))
    return as_message(f"Subject: {text}\n\n{text} number{number}\n".encode())


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Bogofilter:
    """A learner whose program does something else."""
    (folder / "bogofilter").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bogofilter").chmod(0o755)
    monkeypatch.setattr("cli.bogofilter.PROGRAM", str(folder / "bogofilter"))
    (folder / "words").mkdir()
    return Bogofilter(folder / "words")


@pytest.mark.live
@installed
def test_what_it_learns_one_by_one_it_knows(tmp_path):
    learner = Bogofilter(tmp_path)
    assert learner.score(mail(spam=True, number=1)) == 0
    for number in range(20):
        learner.learn(mail(spam=True, number=number), True)
        learner.learn(mail(spam=False, number=number), False)
    assert learner.score(mail(spam=True, number=99)) > 1
    assert learner.score(mail(spam=False, number=99)) < -1
    assert all(math.isfinite(learner.score(mail(spam=True, number=number))) for number in range(5))


@pytest.mark.live
@installed
def test_learning_all_at_once_is_learning_one_by_one(tmp_path):
    messages = [(mail(spam=spam, number=number), spam) for number in range(12) for spam in (True, False)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one_by_one, at_once = Bogofilter(tmp_path / "a"), Bogofilter(tmp_path / "b")
    for message, spam in messages:
        one_by_one.learn(message, spam)
    done = []
    at_once.learn_all(messages, done.append)
    tested = [mail(spam=spam, number=number) for number in range(100, 104) for spam in (True, False)]
    assert at_once.score_all(tested, done.append) == [one_by_one.score(message) for message in tested]
    assert done == [24, 8]


@pytest.mark.live
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'cannot open' >&2; exit 3", "ended with 3: cannot open"),
        ("kill -9 $$", "ended with -9"),
        ("echo nonsense", "no score"),
        ("echo S much", "no score"),
        ("exit 0", "scored 0 of 1"),
    ],
)
def test_a_program_that_fails_is_one_line(tmp_path, monkeypatch, script, message):
    learner = program(tmp_path, monkeypatch, f"case $* in *-s*) exit 0;; esac; {script}")
    learner.learn(mail(spam=True, number=1), True)
    with pytest.raises(BogofilterError, match=message):
        learner.score(mail(spam=True, number=2))


def test_a_program_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("cli.bogofilter.PROGRAM", str(tmp_path / "nosuch"))
    assert not is_installed()
    with pytest.raises(BogofilterError, match="No such file"):
        Bogofilter(tmp_path).learn(mail(spam=True, number=1), True)


def test_it_reads_the_message_as_a_file_of_the_system():
    assert mail_of(as_message(b"A: b\n c\n\nx\ny\n")) == b"A: b\n c\n\nx\ny\n"
