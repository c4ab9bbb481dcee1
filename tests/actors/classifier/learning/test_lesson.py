import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.classifier.learning.bounds import Bounds, Refusal, Spent
from actors.classifier.learning.commonness import Commonness
from actors.classifier.learning.example import Label, outer_layers
from actors.classifier.learning.layers import SHARED, Layer, shift_of, step_for, tenant_layer, user_layer
from actors.classifier.learning.lesson import MARGIN, SHIFT_MAX, Case, Done, Limits, Mark, learn
from actors.classifier.learning.scope import EVERYBODY, TENANT, USER, contributions
from actors.classifier.learning.weights import LOG_ODDS_MAX, Weights
from actors.model import Direction, Envelope, Recipient
from tests.actors.classifier.learning.lessons import even, slots_of

FREE = Limits(Bounds(1000, 1e6), Spent(), 1 << 30)
SPAM = slots_of("cheap watches for you only today click here and pay")
HAM = slots_of("the minutes of our meeting are in the folder of the board")


def teach(weights, slots, label, shares=None, *, known=None, base=0.0, limits=FREE, rates=None):
    rates = even(slots) if rates is None else rates
    lesson = learn(weights, Case(slots, rates, base, label, shares or {SHARED: 1.0}, known or {}), limits)
    if lesson.delta:
        after = weights.position.after(lesson.delta)
        weights.apply(after.number, after.chain, lesson.delta)
    return lesson


@pytest.mark.parametrize("label", [Label.SPAM, Label.HAM])
def test_what_was_taught_is_on_its_side_by_the_margin(label):
    weights = Weights(1 << 30)
    lesson = teach(weights, SPAM, label)
    side = 1 if label is Label.SPAM else -1
    assert lesson.done is Done.LEARNT
    assert weights.log_odds(SHARED, SPAM) * side == pytest.approx(MARGIN, abs=0.01)
    assert lesson.shift == pytest.approx(MARGIN, abs=0.01)
    assert abs(weights.log_odds(SHARED, HAM)) < 1


def test_a_message_that_the_model_is_sure_of_changes_nothing_and_is_noted():
    lesson = teach(Weights(1 << 30), SPAM, Label.SPAM, base=MARGIN + 1)
    assert (lesson.done, lesson.delta, lesson.marks) == (Done.LEARNT, b"", {SHARED: Mark(Label.SPAM, 0)})


def test_a_model_that_is_sure_of_the_contrary_is_moved_no_further_than_a_lesson_may():
    weights, long = Weights(1 << 30), slots_of(" ".join(f"word{number}" for number in range(100)))
    teach(weights, long, Label.SPAM, base=-30.0)
    assert weights.log_odds(SHARED, long) == pytest.approx(SHIFT_MAX, abs=0.01)


def test_the_same_label_again_changes_nothing():
    weights = Weights(1 << 30)
    marks = teach(weights, SPAM, Label.SPAM).marks
    again = teach(weights, SPAM, Label.SPAM, known=marks)
    assert (again.done, again.delta, again.marks) == (Done.KNOWN, b"", {})


@pytest.mark.parametrize("text", ["one", "one two", "one two three four five six seven"])
def test_relabelling_works_for_short_messages_too(text):
    weights, slots, marks = Weights(1 << 30), slots_of(text), {}
    for label in (Label.SPAM, Label.HAM, Label.SPAM, Label.FORGET):
        marks = {name: mark for name, mark in teach(weights, slots, label, known=marks).marks.items() if mark}
    assert weights.unread == 0
    assert not weights.layers[SHARED].table.any()


def test_relabelling_leaves_what_learning_the_other_label_alone_would_have():
    straight, turned = Weights(1 << 30), Weights(1 << 30)
    teach(straight, HAM, Label.HAM)
    teach(turned, HAM, Label.HAM)
    marks = teach(turned, SPAM, Label.SPAM).marks
    lesson = teach(turned, SPAM, Label.HAM, known=marks)
    teach(straight, SPAM, Label.HAM)
    assert lesson.done is Done.RELABELLED
    assert np.array_equal(straight.layers[SHARED].table, turned.layers[SHARED].table)


def test_forgetting_takes_exactly_back_what_was_learnt():
    weights = Weights(1 << 30)
    marks = teach(weights, SPAM, Label.SPAM).marks
    lesson = teach(weights, SPAM, Label.FORGET, known=marks)
    assert (lesson.done, lesson.marks) == (Done.FORGOTTEN, {SHARED: None})
    assert not weights.layers[SHARED].table.any()
    assert teach(weights, SPAM, Label.FORGET).done is Done.KNOWN


def test_a_lesson_beyond_the_bound_of_its_source_is_refused_whole():
    weights = Weights(1 << 30)
    limits = Limits(Bounds(10, 5.0), Spent(1, 2.0), 1 << 30)
    lesson = teach(weights, SPAM, Label.SPAM, limits=limits)
    assert (lesson.done, lesson.refusal, lesson.delta, lesson.marks) == (Done.REFUSED, Refusal.TOO_MUCH, b"", {})


def test_a_users_lesson_reaches_the_tenant_as_a_quarter_and_nobody_else():
    weights = Weights(1 << 30)
    user, tenant = user_layer("acme", b"Anna@acme.example"), tenant_layer("acme")
    teach(weights, SPAM, Label.SPAM, {user: 1.0, tenant: 0.25})
    assert weights.log_odds(user, SPAM) == pytest.approx(MARGIN, abs=0.01)
    assert weights.log_odds(tenant, SPAM) == pytest.approx(MARGIN / 4, abs=0.01)
    assert set(weights.layers) == {user, tenant}


def test_who_speaks_for_the_tenant_is_heard_after_a_user_and_not_undone_by_one():
    weights, tenant = Weights(1 << 30), tenant_layer("acme")
    marks = teach(weights, SPAM, Label.SPAM, {tenant: 0.25}).marks
    lesson = teach(weights, SPAM, Label.SPAM, {tenant: 1.0}, known=marks)
    assert lesson.done is Done.LEARNT
    assert weights.log_odds(tenant, SPAM) == pytest.approx(MARGIN, abs=0.01)
    for label in (Label.HAM, Label.SPAM, Label.FORGET):
        assert teach(weights, SPAM, label, {tenant: 0.25}, known=lesson.marks).done is Done.KNOWN
    assert teach(weights, SPAM, Label.HAM, {tenant: 1.0}, known=lesson.marks).done is Done.RELABELLED


@pytest.mark.parametrize("text", ["", "spam", "spam 1", "eggs 1 1", "spam x 1", "spam 1 1 1"])
def test_what_is_no_mark_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Mark.from_text(text)
    assert Mark.from_text(Mark(Label.HAM, -3, 0.25).to_text()) == Mark(Label.HAM, -3, 0.25)


def test_a_layer_is_taught_what_those_above_do_not_know_yet():
    weights = Weights(1 << 30)
    teach(weights, SPAM, Label.SPAM)
    lesson = teach(weights, SPAM, Label.SPAM, {tenant_layer("acme"): 1.0})
    assert lesson.shift < 0.01


def test_who_was_taught_longest_ago_goes_when_there_is_no_room():
    weights = Weights(1 << 30)
    room = Limits(FREE.source, Spent(), (2 << 20) + 2 * (2 << 15))
    for name in ("one", "two", "one", "three"):
        teach(
            weights,
            slots_of(f"words for {name} {weights.position.number}"),
            Label.SPAM,
            {f"t:{name}": 1.0},
            limits=room,
        )
    teach(weights, SPAM, Label.SPAM, limits=room)
    assert set(weights.layers) == {"t:one", "t:three", SHARED}


def test_a_journal_that_is_out_of_its_mind_makes_it_take_no_more_than_it_may():
    weights = Weights(3 * (2 << 15))
    for number in range(10):
        teach(weights, slots_of(f"words of {number}"), Label.SPAM, {f"t:{number}": 1.0})
    assert set(weights.layers) == {"t:0", "t:1", "t:2"}
    assert weights.size_bytes == sum(layer.size_bytes for layer in weights.layers.values())
    assert weights.position.number == 10


def test_layers_of_several_recipients_count_as_far_as_they_agree():
    weights = Weights(1 << 30)
    a, b = tenant_layer("a"), tenant_layer("b")
    teach(weights, SPAM, Label.SPAM, {a: 1.0, b: 0.5})
    teach(weights, HAM, Label.HAM, {a: 1.0})

    def said(slots, *tenants, direction=Direction.INBOUND):
        recipients = tuple(Recipient(b"x@y.example", tenant=tenant) for tenant in tenants)
        return dict(contributions(weights, slots, Envelope(recipients=recipients, direction=direction, tenant="a")))

    assert said(SPAM, "a")[TENANT] == pytest.approx(MARGIN, abs=0.1)
    assert said(SPAM, "a", "b")[TENANT] == pytest.approx(MARGIN / 2, abs=0.1)
    assert TENANT not in said(SPAM, "a", "c")
    assert TENANT not in said(SPAM, "a", "")
    assert TENANT not in said(SPAM)
    assert TENANT not in said(SPAM, "a", *map(str, range(20)))
    assert said(SPAM, "c", direction=Direction.OUTBOUND)[TENANT] == pytest.approx(MARGIN, abs=0.1)


def test_a_users_layer_weighs_in_for_that_user_alone():
    weights = Weights(1 << 30)
    teach(weights, SPAM, Label.SPAM, {user_layer("", b"anna@acme.example"): 1.0})
    anna = Envelope(recipients=(Recipient(b"ANNA@acme.example"),))
    both = Envelope(recipients=(Recipient(b"anna@acme.example"), Recipient(b"bob@acme.example")))
    assert dict(contributions(weights, SPAM, anna)).keys() == {USER}
    assert not contributions(weights, SPAM, both)
    assert not contributions(weights, SPAM, Envelope(recipients=(Recipient(b"x" * 1000),)))


def test_no_layer_can_do_more_than_its_most():
    weights = Weights(1 << 30)
    weights.put(SHARED, Layer.empty(SHARED))
    for number in (1, 2):
        weights.layers[SHARED].add(SPAM, even(SPAM), 16_383, number)
    assert dict(contributions(weights, SPAM, Envelope())) == {EVERYBODY: LOG_ODDS_MAX}


@pytest.mark.parametrize("tenant", ["a b", "a/b", "x" * 129, "a\n"])
def test_a_name_that_no_tenant_can_have_is_refused(tenant):
    with pytest.raises(ValueError, match="tenant"):
        tenant_layer(tenant)


def test_the_layers_around_a_layer():
    assert outer_layers("s") == ("s",)
    assert outer_layers("t:acme") == ("s", "t:acme")
    user = user_layer("acme", b"a@b")
    assert outer_layers(user) == ("s", "t:acme", user)
    assert outer_layers(user_layer("", b"a@b")) == ("s", user_layer("", b"a@b"))


RATES = st.lists(st.integers(1, 255), min_size=1, max_size=300).map(lambda rates: np.array(rates, np.uint8))


@settings(deadline=None)
@given(st.floats(-16, 16), RATES)
def test_a_step_does_to_the_message_what_was_wanted_within_its_unit(shift, rates):
    step = step_for(shift, rates)
    # Half a unit of rounding on each slot and in the step; and very short messages meet the cap of a step.
    off = abs(shift_of(step, rates) - shift)
    assert off <= 1.1 / 2048 * math.sqrt(len(rates)) or abs(step) == 16_383


@settings(deadline=None)
@given(st.lists(st.integers(0, (1 << 20) - 1), min_size=1, max_size=300, unique=True), RATES, st.integers(-8000, 8000))
def test_a_layer_moves_by_the_step_and_exactly_back(numbers, rates, step):
    slots = np.array(sorted(numbers), np.uint32)
    rates = np.resize(rates, len(slots))
    for name in (SHARED, "t:x", "u:/0123"):
        layer = Layer.empty(name)
        layer.add(slots, rates, step, 1)
        if name == SHARED:  # Nothing collides.
            assert layer.log_odds(slots) == pytest.approx(shift_of(step, rates))
        layer.add(slots, rates, -step, 2)
        assert not layer.table.any()


def test_what_is_in_all_mail_is_hardly_moved():
    commonness, weights = Commonness(), Weights(1 << 30)
    everywhere, rare = slots_of("hello regards"), slots_of("replica watches")
    for _ in range(50):
        commonness.note(everywhere)
    message = np.union1d(everywhere, rare)
    teach(weights, message, Label.SPAM, rates=commonness.rates(message))
    assert weights.log_odds(SHARED, message) == pytest.approx(MARGIN, abs=0.01)
    assert weights.log_odds(SHARED, everywhere) < 0.1
    assert weights.log_odds(SHARED, rare) > MARGIN


def test_old_mail_fades(monkeypatch):
    monkeypatch.setattr("actors.classifier.learning.commonness._MESSAGES_MAX", 100)
    commonness = Commonness()
    once, now, never = (np.array([number], np.uint32) for number in range(3))
    for slots in (once, now):
        for _ in range(150):
            commonness.note(slots)
    assert list(np.sort(commonness.rates(np.concatenate([once, now, never])))) == [3, 20, 255]


def test_a_message_without_slots_is_no_trouble():
    weights = Weights(1 << 30)
    assert teach(weights, slots_of(""), Label.SPAM).shift == 0
    assert weights.log_odds(SHARED, slots_of("")) == 0.0
