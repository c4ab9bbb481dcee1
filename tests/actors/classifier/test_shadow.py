import hashlib
import shutil

import msgspec
import pytest

from actors.actor import Budget
from actors.classifier import model
from actors.classifier.actor import ClassifierActor
from actors.classifier.comparison import SHIFTS, Comparison, comparisons
from actors.config import ClassifierConfig
from actors.model import Envelope, Message, Outcome, Stage
from tests.actors.classifier.test_actor import HAM, SPAM
from tests.fakes import FakeClock


@pytest.fixture
def everything_spam(tmp_path):
    """The shipped model with a threshold that every message reaches."""
    path = tmp_path / "eager.safetensors"
    shutil.copy(model.SHIPPED_MODEL, path)
    card = msgspec.json.decode(model.SHIPPED_MODEL.with_suffix(".json").read_bytes())
    path.with_suffix(".json").write_bytes(msgspec.json.encode(card | {"threshold": 0.0}))
    return path


def actor_with(shadow, share: float = 1.0) -> ClassifierActor:
    return ClassifierActor(ClassifierConfig(shadow_model=str(shadow), shadow_share=share), FakeClock())


async def outcome_of(actor: ClassifierActor, message: Message, number: int = 0) -> Outcome:
    envelope = Envelope(hashlib.sha256(b"%d" % number).digest()[:16])
    told = Message(envelope, message.header_block, message.body)
    (finding,) = await actor.examine(Stage.MESSAGE, told, Budget.lasting(FakeClock(), 5))
    return finding.outcome


def seen(actor: ClassifierActor) -> Comparison:
    (comparison,) = comparisons(actor.counters()).values()
    return comparison


async def test_the_shadow_is_compared_and_changes_no_verdict(everything_spam):
    actor = actor_with(everything_spam)
    assert [await outcome_of(actor, message) for message in (HAM, HAM, SPAM)] == [
        Outcome.HAM,
        Outcome.HAM,
        Outcome.SPAM,
    ]
    found = seen(actor)
    assert (found.messages, found.both_spam, found.only_shadow_spam, found.only_live_spam) == (3, 1, 2, 0)
    assert found.shifts[len(SHIFTS) // 2] == 3, "the same weights give the same probability"


async def test_what_only_the_live_model_calls_spam_is_counted_apart(everything_spam):
    actor = ClassifierActor(
        ClassifierConfig(model=str(everything_spam), shadow_model=str(model.SHIPPED_MODEL), shadow_share=1.0),
        FakeClock(),
    )
    assert await outcome_of(actor, HAM) is Outcome.SPAM
    assert (seen(actor).only_live_spam, seen(actor).only_shadow_spam) == (1, 0)


async def test_only_the_share_is_scored_twice_and_a_replay_is_in_it_again(everything_spam):
    actor = actor_with(everything_spam, share=0.2)
    for number in range(200):
        await outcome_of(actor, HAM, number)
    once = seen(actor).messages
    assert 20 < once < 60
    for number in range(200):
        await outcome_of(actor, HAM, number)
    assert seen(actor).messages == 2 * once


async def test_a_shadow_that_raises_is_counted_and_harms_nobody(everything_spam, monkeypatch):
    actor = actor_with(everything_spam)
    whole = actor._model.probability

    def broken(self, grams):
        if self is actor._model:
            return whole(grams)
        raise ValueError("broken")

    monkeypatch.setattr(model.SpamModel, "probability", broken)
    actor._model.probability = whole
    assert await outcome_of(actor, HAM) is Outcome.HAM
    assert (seen(actor).failed, seen(actor).messages) == (1, 0)


def test_a_shadow_that_cannot_be_loaded_is_refused_at_the_start(everything_spam):
    everything_spam.write_bytes(everything_spam.read_bytes()[:-1])
    with pytest.raises(model.ModelError, match="SHA-256 differs"):
        actor_with(everything_spam)


def test_without_a_shadow_nothing_is_counted():
    assert not ClassifierActor(ClassifierConfig(), FakeClock()).counters()


def test_counts_of_processes_sum_and_are_read_back_each_pair_of_models_apart():
    one, other = Comparison(), Comparison()
    one.add(live=False, shadow=True, shift=0.7, us=100.4)
    one.add(live=True, shadow=True, shift=-0.7, us=100.0)
    other.add(live=False, shadow=False, shift=0.0, us=300.0)
    summed = {"waiting": 3, "shadow a b from_a_later_release": 1}
    for counts in (one.counters("a", "b"), other.counters("a", "b"), other.counters("a", "c")):
        for name, count in counts.items():
            summed[name] = summed.get(name, 0) + count
    found = comparisons(summed)
    assert set(found) == {("a", "b"), ("a", "c")}
    both = found["a", "b"]
    assert (both.messages, both.only_shadow_spam, both.both_spam, both.both_ham, both.shadow_us) == (3, 1, 1, 1, 500)
    assert (both.shifts[0], both.shifts[len(SHIFTS) // 2], both.shifts[-1], sum(both.shifts)) == (1, 1, 1, 3)
    assert found["a", "c"].messages == 1
