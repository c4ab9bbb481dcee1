import pytest

from actors.classifier.corpus import (
    NPM_FOLDERS,
    CorpusError,
    as_message,
    is_held_out,
    read_corpus,
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
    samples = read_corpus(tmp_path)
    assert {(sample.folder, sample.spam) for sample in samples} == {
        ("easy_ham", False),
        ("easy_ham_2", False),
        ("hard_ham", False),
        ("spam", True),
        ("spam_2", True),
    }
    assert [sample.raw[:12] for sample in samples] == [sample.raw[:12] for sample in read_corpus(tmp_path)]


def test_a_directory_without_the_corpus_is_refused_with_the_folder_named(tmp_path):
    with pytest.raises(CorpusError, match="no mail in easy_ham or easy-ham-1"):
        read_corpus(tmp_path)
