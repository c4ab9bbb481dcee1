import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.classifier.evaluation import (
    EvaluationError,
    evaluate,
    one_minus_auc_percent,
    recall_at,
    reliability,
    roc,
    sigmoid,
    wilson,
)

# Few different scores, so that equal ones are the rule.
LABELLED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({spam for _, spam in rows}) == 2
)


def arrays(rows):
    return np.array([score for score, _ in rows], np.float64), np.array([spam for _, spam in rows], np.bool_)


def parts(rows):
    return [score for score, spam in rows if spam], [score for score, spam in rows if not spam]


@given(LABELLED)
def test_the_area_counts_pairs_in_the_wrong_order_and_equal_ones_half(rows):
    spam, ham = parts(rows)
    wrong = sum(Fraction(int(h > s) * 2 + int(h == s), 2) for s, h in itertools.product(spam, ham))
    figure = one_minus_auc_percent(*arrays(rows))
    assert figure.value == pytest.approx(float(100 * wrong / (len(spam) * len(ham))))
    assert 0 <= figure.low <= figure.value + 1e-9
    assert figure.value - 1e-9 <= figure.high <= 100


@given(LABELLED)
def test_the_area_does_not_care_for_the_scale_of_the_scores(rows):
    scores, spam = arrays(rows)
    assert one_minus_auc_percent(np.exp(scores), spam) == one_minus_auc_percent(scores, spam)


@given(LABELLED, st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.5, 0.99]))
def test_recall_is_the_best_that_any_threshold_gives_within_the_rate(rows, rate):
    spam, ham = parts(rows)
    thresholds = [-10, *sorted({score for score, _ in rows})]
    fit = [t for t in thresholds if sum(h > t for h in ham) <= rate * len(ham) + 1e-9]
    best = max(Fraction(sum(s > t for s in spam), len(spam)) for t in fit)
    found = recall_at(*arrays(rows), rate)
    assert found.recall.value == pytest.approx(float(best))
    assert sum(h > found.threshold for h in ham) <= rate * len(ham) + 1e-9
    assert found.recall.low <= found.recall.value <= found.recall.high


@given(LABELLED)
def test_the_curve_goes_through_every_threshold(rows):
    spam, ham = parts(rows)
    curve = roc(*arrays(rows))
    assert (curve.false_positive_rate[0], curve.recall[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.recall[-1]) == (1, 1)
    for threshold in {score for score, _ in rows}:
        x = sum(h >= threshold for h in ham) / len(ham)
        y = sum(s >= threshold for s in spam) / len(spam)
        # On the curve: at a corner, or between two.
        assert any(
            x0 <= x + 1e-9
            and x <= x1 + 1e-9
            and y0 <= y + 1e-9
            and y <= y1 + 1e-9
            and abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) < 1e-9
            for (x0, y0), (x1, y1) in itertools.pairwise(zip(curve.false_positive_rate, curve.recall, strict=True))
        )


@given(LABELLED)
def test_the_area_under_the_curve_is_the_area_of_the_pairs(rows):
    scores, spam = arrays(rows)
    curve = roc(scores, spam)
    area = float(np.trapezoid(curve.recall, curve.false_positive_rate))
    assert 100 * (1 - area) == pytest.approx(one_minus_auc_percent(scores, spam).value)


def test_a_long_curve_is_drawn_with_a_thousand_points():
    draw = np.random.default_rng(5)
    curve = roc(draw.normal(size=20_000), draw.random(20_000) < 0.5)
    assert len(curve.recall) == len(curve.false_positive_rate) == 1001
    assert curve.recall[-1] == curve.false_positive_rate[-1] == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_reliability_is_the_mean_and_the_share_of_each_tenth(rows):
    bins = reliability(*arrays(rows))
    tenths = {}
    for probability, spam in rows:
        tenths.setdefault(min(9, int(probability * 10)), []).append((probability, spam))
    assert len(bins) == len(tenths)
    for one, (_, inside) in zip(bins, sorted(tenths.items()), strict=True):
        assert one.count == len(inside)
        assert one.probability == pytest.approx(sum(p for p, _ in inside) / len(inside))
        assert one.spam.value == pytest.approx(sum(spam for _, spam in inside) / len(inside))


@given(st.integers(1, 2000), st.data())
def test_wilsons_bounds_are_where_the_share_is_just_not_surprising(of, data):
    count = data.draw(st.integers(0, of))
    figure = wilson(count, of)
    for bound in (figure.low, figure.high):
        if 0 < bound < 1:
            distance = abs(count / of - bound) / math.sqrt(bound * (1 - bound) / of)
            assert distance == pytest.approx(1.959964, rel=1e-4)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1


@pytest.mark.parametrize(("spams", "hams", "apart"), [(300, 300, 2.0), (60, 400, 1.5), (800, 100, 2.5)])
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(spams, hams, apart):
    normal = math.erfc
    true_area = 100 * 0.5 * normal(apart / math.sqrt(2) / math.sqrt(2))
    # Of normal ham 5 % exceed 1.645.
    true_recall = 0.5 * normal((1.6448536 - apart) / math.sqrt(2))
    draw = np.random.default_rng(11)
    labels = np.repeat([True, False], [spams, hams])
    area = recall = 0
    for _ in range(300):
        scores = np.concatenate([draw.normal(apart, 1, spams), draw.normal(0, 1, hams)])
        figure = one_minus_auc_percent(scores, labels)
        area += figure.low <= true_area <= figure.high
        figure = recall_at(scores, labels, 0.05).recall
        recall += figure.low <= true_recall <= figure.high
    assert 0.91 <= area / 300 <= 0.99
    assert recall / 300 >= 0.9


def test_without_a_mistake_the_interval_still_has_a_width():
    figure = one_minus_auc_percent(np.array([0.0] * 50 + [1.0] * 20), np.repeat([False, True], [50, 20]))
    assert (figure.value, figure.low) == (0, 0)
    # 20 without a mistake: a rate of 14 % would show one in 95 of 100 such samples.
    assert figure.high == pytest.approx(100 * (1 - 0.05 ** (1 / 20)))


def test_a_filter_that_never_tells_apart_has_half_the_area_and_no_recall():
    scores, spam = np.zeros(100), np.repeat([False, True], 50)
    assert one_minus_auc_percent(scores, spam).value == 50
    assert recall_at(scores, spam, 0.01).recall.value == 0


def test_probability_of_any_score_is_between_0_and_1():
    assert sigmoid(np.array([-1e9, 0.0, 1e9])).tolist() == [0, 0.5, 1]
    assert sigmoid(np.array([2.0]))[0] == pytest.approx(1 / (1 + math.exp(-2)))


def test_slices_are_judged_at_the_threshold_of_the_whole():
    draw = random.Random(3)
    rows = [(draw.gauss(1.5 if spam else 0, 1), spam) for spam in (True, False) * 200]
    scores, spam = arrays(rows)
    names = ["large" if number % 3 else "small" for number in range(len(rows))]
    found = evaluate(scores.tolist(), spam.tolist(), [0.05], {"size": names})
    large, small = found.slices["size"]
    assert (large.name, small.name) == ("large", "small")
    threshold = found.recalls[0].threshold
    inside = [(score, label) for (score, label), name in zip(rows, names, strict=True) if name == "small"]
    recall = sum(score > threshold for score, label in inside if label) / sum(label for _, label in inside)
    assert small.recall.value == pytest.approx(recall)
    assert small.one_minus_auc_percent.value == pytest.approx(one_minus_auc_percent(*arrays(inside)).value)
    assert large.spam + small.spam == found.spam == 200


def test_a_slice_of_one_kind_has_no_area_and_no_rate_of_the_other():
    found = evaluate([1.0, 2.0, 0.0], [True, True, False], [0.5], {"kind": ["a", "b", "b"]})
    slice_a = found.slices["kind"][1]
    assert (slice_a.name, slice_a.one_minus_auc_percent, slice_a.false_positive_rate) == ("a", None, None)


@pytest.mark.parametrize(
    ("scores", "spam", "message"),
    [
        ([1.0], [True], "no ham"),
        ([1.0], [False], "no spam"),
        ([], [], "no spam"),
        ([1.0, math.nan], [True, False], "not a number"),
    ],
)
def test_what_cannot_be_measured_is_said(scores, spam, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(scores, spam, [0.01])


def test_the_brier_score_is_the_mean_squared_error():
    found = evaluate([0.0, math.log(3)], [True, False], [0.5])
    assert found.brier == pytest.approx((0.25 + 0.5625) / 2)


def test_the_same_scores_give_the_same_figures():
    draw = np.random.default_rng(1)
    scores, spam = draw.normal(size=200), draw.random(200) < 0.4
    first, second = (evaluate(scores.tolist(), spam.tolist(), [0.01, 0.001]) for _ in range(2))
    assert first == second
