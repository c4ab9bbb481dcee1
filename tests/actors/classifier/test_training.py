import dataclasses
import hashlib

import pytest

from actors.classifier import features, model, training
from actors.classifier.corpus import CorpusError, as_message, is_held_out
from actors.classifier.model import ModelError


def quiet(_phase: str, _done: int, _steps: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def trained(corpus):
    return training.train(corpus, 1, quiet)


@pytest.fixture
def saved(trained, tmp_path):
    path = tmp_path / "own.safetensors"
    training.write(trained, path)
    return path


def test_training_twice_gives_the_same_bytes(corpus, trained):
    again = training.train(list(corpus), 1, quiet)
    assert again.weights_file == trained.weights_file
    assert model.card_bytes(again.card) == model.card_bytes(trained.card)


def test_another_seed_gives_another_model(corpus, trained):
    assert training.train(corpus, 2, quiet).weights_file != trained.weights_file


def test_what_can_be_learned_is_learned(trained, corpus):
    held_out = trained.card.held_out
    assert held_out.recall == 1.0
    assert held_out.false_positive_rate == 0.0
    assert trained.card.trained_on + held_out.spam + held_out.ham == len(corpus)


def test_the_saved_model_scores_like_the_card_says(saved, corpus):
    loaded, card = model.load(saved)
    unseen = [sample for sample in corpus if is_held_out(sample.raw)]
    for sample in unseen:
        probability = loaded.probability(features.grams(as_message(sample.raw)))
        assert (probability >= card.threshold) is sample.spam


def test_one_kind_alone_cannot_be_learned(corpus):
    with pytest.raises(CorpusError, match="needs spam and ham"):
        training.train([sample for sample in corpus if sample.spam], 1, quiet)


def test_progress_is_told_to_the_end(corpus):
    told: dict[str, tuple[int, int]] = {}
    training.train(corpus, 1, lambda phase, done, steps: told.update({phase: (done, steps)}))
    assert list(told) == ["read", "learn", "measure"]
    assert all(done == steps for done, steps in told.values())


def test_a_write_that_fails_leaves_the_old_model_and_its_card(trained, saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.parent.iterdir()}
    written = []

    def full(path, data):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        with path.open("wb") as file:
            return file.write(data)

    monkeypatch.setattr(training.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        training.write(dataclasses.replace(trained, weights_file=b"other"), saved)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in saved.parent.iterdir()} == before


def test_the_card_comes_last(trained, tmp_path, monkeypatch):
    placed = []
    replace = training.Path.replace
    monkeypatch.setattr(training.Path, "replace", lambda path, to: (placed.append(to.suffix), replace(path, to)))
    training.write(trained, tmp_path / "own.safetensors")
    assert placed == [".safetensors", ".json"]


def test_a_place_is_tried_without_a_trace(tmp_path):
    training.check_place(tmp_path / "new" / "own.safetensors")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "own.json").mkdir()
    with pytest.raises(IsADirectoryError):
        training.check_place(tmp_path / "own.safetensors")


def test_a_truncated_model_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(ModelError, match="SHA-256 differs"):
        model.load(saved)


def test_a_model_without_its_card_is_refused(saved):
    saved.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"own\.safetensors"):
        model.load(saved)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b'"tamis-spam-model/1"', b'"other/9"', "format 'other/9'"),
        (b'"features_version": 1', b'"features_version": 99', "made for other features"),
        (b'"slots": 524288', b'"slots": 16', "made for other features"),
        (b"{", b"[", "own"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(saved, old, new, what):
    card = saved.with_suffix(".json")
    assert old in card.read_bytes()
    card.write_bytes(card.read_bytes().replace(old, new, 1))
    with pytest.raises(ModelError, match=what):
        model.load(saved)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"not safetensors"])
def test_a_foreign_file_is_refused_even_with_its_own_card(saved, content):
    card = saved.with_suffix(".json")
    digest = hashlib.sha256(saved.read_bytes()).hexdigest().encode()
    card.write_bytes(card.read_bytes().replace(digest, hashlib.sha256(content).hexdigest().encode()))
    saved.write_bytes(content)
    with pytest.raises(ModelError, match=r"own\.safetensors"):
        model.load(saved)
