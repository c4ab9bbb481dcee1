import os
from pathlib import Path

import pytest

from actors.classifier.corpus import (
    NPM_FOLDERS,
    CorpusError,
    Reading,
    as_message,
    is_held_out,
    read_corpus,
    read_labelled,
    split_digest,
    without_collectors,
)

RAW = b"From x@example.org  Thu Aug 22 12:36:23 2002\nSubject: x\n\nbody of the mail\nline two\n"


def test_a_collected_file_becomes_the_message_on_the_wire():
    message = as_message(RAW)
    assert message.header_block == b"Subject: x\r\n"
    assert message.body == b"body of the mail\r\nline two\r\n"
    assert as_message(RAW.replace(b"\n", b"\r\n")) == message


@pytest.mark.parametrize("raw", [b"", b"\n", b"From ", b"no colon at all", b"\n\n\n", b"Subject: only"])
def test_odd_files_are_messages_too(raw):
    as_message(raw)
    is_held_out(raw)


def test_the_side_does_not_depend_on_headers_line_ends_digits_or_case():
    other = b"Subject: another\nX: y\n\nBODY OF THE 99 MAIL\nLINE TWO\n"
    assert split_digest(RAW) == split_digest(RAW.replace(b"\n", b"\r\n")) == split_digest(other)


def test_copies_of_a_mailing_mostly_share_a_side():
    # No two words in a row like any other two, so that the runs of four are all different.
    text = " ".join(f"{a}{b}ord {b}{a}ther" for a in "abcdefghij" for b in "klmnopqrst")
    plain = split_digest(b"\n\n" + text.encode())
    greetings = [f"dear {name}" for name in ("anna", "bernd", "carla", "dieter", "emma", "fritz", "gerda", "hans")]
    same = [split_digest(f"\n\n{greeting} {text} unsubscribe {greeting}".encode()) == plain for greeting in greetings]
    assert sum(same) >= 7


def test_about_three_in_ten_are_held_out():
    mails = [f"\n\n{a}x {b}y {a}z {b}w words".encode() for a in "abcdefghijklmnop" for b in "qrstuvwxyzabcdefg"]
    share = sum(map(is_held_out, mails)) / len(mails)
    assert 0.2 < share < 0.42


def test_names_of_collectors_are_taken_out():
    raw = b"To: zzzz-ilug@spamassassin.taint.org, yyyy@netnoteinc.com\nSee http://jmason.org/x and jm@jmason.org"
    cleaned = without_collectors(raw)
    for name in (b"zzzz", b"yyyy", b"taint", b"netnoteinc", b"jmason"):
        assert name not in cleaned


@pytest.mark.parametrize("layout", ["plain", "npm", "npm package"])
def test_both_layouts_give_the_same_samples(tmp_path, layout):
    for folder, npm in NPM_FOLDERS.items():
        base = {"plain": tmp_path / folder, "npm": tmp_path / npm, "npm package": tmp_path / "package/data" / npm}[
            layout
        ]
        base.mkdir(parents=True)
        (base / "1.txt").write_bytes(b"Subject: " + folder.encode() + b"\n\nx\n")
        (base / "1.json").write_bytes(b"{}")
        (base / "cmds").write_bytes(b"mv a b")
    samples = read_corpus(tmp_path).samples
    assert {(sample.folder, sample.spam) for sample in samples} == {
        ("easy_ham", False),
        ("easy_ham_2", False),
        ("hard_ham", False),
        ("spam", True),
        ("spam_2", True),
    }
    assert [sample.raw[:12] for sample in samples] == [sample.raw[:12] for sample in read_corpus(tmp_path).samples]


def test_a_directory_without_the_corpus_is_refused_with_the_folder_named(tmp_path):
    with pytest.raises(CorpusError, match="no mail in easy_ham or easy-ham-1"):
        read_corpus(tmp_path)


def filled(folder: Path, mails: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in mails.items():
        (folder / name).write_bytes(raw)
    return folder


HAM = {"1": b"Subject: a\n\none\n", "2": b"Subject: b\n\ntwo\n"}
SPAM = {"1": b"Subject: c\n\nthree\n"}


def labels(reading: Reading) -> list[tuple[bytes, bool]]:
    return sorted((sample.raw, sample.spam) for sample in reading.samples)


def test_folders_at_any_depth_are_read(tmp_path):
    filled(tmp_path / "ham", HAM)
    filled(tmp_path / "ham" / "2026" / "deep", {"3": b"Subject: d\n\nfour\n", ".hidden": b"x"})
    reading = read_labelled([tmp_path / "ham"], [filled(tmp_path / "spam", SPAM)])
    assert len(reading.samples) == 4
    assert reading.skipped == {}
    assert reading.told() == ""


def test_of_a_maildir_the_mail_is_read_and_nothing_else(tmp_path):
    box = tmp_path / "box"
    filled(box / "cur", {"1:2,S": b"Subject: seen\n\nx\n"})
    filled(box / "new", {"2": b"Subject: new\n\nx\n"})
    filled(box / "tmp", {"3": b"Subject: half"})
    filled(box, {"dovecot-uidlist": b"3 V1 N4"})
    reading = read_labelled([box], [filled(tmp_path / "spam", SPAM)])
    assert [raw for raw, spam in labels(reading) if not spam] == [b"Subject: new\n\nx\n", b"Subject: seen\n\nx\n"]


def test_an_mbox_is_many_messages_and_another_file_is_one(tmp_path):
    mbox = b"".join(b"From a@example.org Thu Aug 22 12:36:23 2002\n" + raw + b"\n" for raw in HAM.values())
    (tmp_path / "ham.mbox").write_bytes(mbox)
    (tmp_path / "spam.eml").write_bytes(SPAM["1"])
    reading = read_labelled([tmp_path / "ham.mbox"], [tmp_path / "spam.eml"])
    messages = sorted((as_message(sample.raw).header_block, sample.spam) for sample in reading.samples)
    assert messages == [(b"Subject: a\r\n", False), (b"Subject: b\r\n", False), (b"Subject: c\r\n", True)]


def test_duplicates_empty_and_unreadable_files_are_skipped_and_counted(tmp_path):
    ham = filled(
        tmp_path / "ham",
        HAM | {"same": HAM["1"], "crlf": HAM["1"].replace(b"\n", b"\r\n"), "mbox": b"From x\n" + HAM["2"], "0": b" \n"},
    )
    (ham / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(ham / "pipe")
    reading = read_labelled([ham], [filled(tmp_path / "spam", SPAM)])
    assert len(reading.samples) == 3
    assert reading.skipped == {"duplicate": 3, "empty": 1, "unreadable": 2}
    assert reading.told() == "3 duplicate, 1 empty, 2 unreadable"


def test_a_message_that_is_called_ham_and_spam_is_neither(tmp_path):
    spam = filled(tmp_path / "spam", SPAM | {"also ham": HAM["1"]})
    reading = read_labelled([filled(tmp_path / "ham", HAM)], [spam])
    assert labels(reading) == [(HAM["2"], False), (SPAM["1"], True)]
    assert reading.skipped == {"duplicate": 1, "labelled both ways": 1}


def test_without_ham_there_is_an_error_that_says_what_was_skipped(tmp_path):
    ham = filled(tmp_path / "ham", {"1": b"", "2": b"\n"})
    with pytest.raises(CorpusError, match=r"no ham to read \(skipped: 2 empty\)"):
        read_labelled([ham], [filled(tmp_path / "spam", SPAM)])
    with pytest.raises(CorpusError, match="no spam to read"):
        read_labelled([filled(tmp_path / "ham", HAM)], [])


def test_a_place_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match="nowhere: no such file"):
        read_labelled([tmp_path / "nowhere"], [])


def test_files_of_the_corpus_that_cannot_be_read_are_skipped(tmp_path):
    for folder in NPM_FOLDERS:
        filled(tmp_path / folder, {"1": b"Subject: " + folder.encode() + b"\n\nx\n", "2": b"Subject: all\n\ny\n"})
    (tmp_path / "spam" / "3").symlink_to(tmp_path / "nowhere")
    reading = read_corpus(tmp_path)
    assert len(reading.samples) == 5
    assert reading.skipped == {"duplicate": 4, "labelled both ways": 1, "unreadable": 1}
