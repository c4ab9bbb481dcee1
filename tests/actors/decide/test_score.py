import itertools

import pytest

from actors.config import PolicyConfig
from actors.decide.score import Points, classifier_points, score_points
from actors.model import Finding, Outcome

POLICY = PolicyConfig()


def points(*findings: Finding, dmarc: Finding | None = None, policy: PolicyConfig = POLICY) -> dict[str, float]:
    return {p.source: p.hundredths / 100 for p in score_points(findings, dmarc, policy)}


def spf(outcome: Outcome) -> Finding:
    return Finding("policy", "spf", outcome)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.0, -3.0), (0.001, -2.9995), (1 / 11, 0.0), (0.5, 5.0), (10 / 11, 5 + 5 / 3), (0.999, 10.0), (1.0, 10.0)],
)
def test_the_line_goes_through_the_points_of_the_table(probability: float, expected: float) -> None:
    assert classifier_points(probability, POLICY) == pytest.approx(expected, abs=1e-3)


def test_more_probable_spam_never_has_fewer_points() -> None:
    line = [classifier_points(step / 1000, POLICY) for step in range(1001)]
    assert all(low <= high for low, high in itertools.pairwise(line))


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.9, 0.999])
def test_the_classifier_alone_reaches_the_spam_header_exactly_at_its_threshold(threshold: float) -> None:
    policy = PolicyConfig(classifier_spam_probability=threshold)
    at = points(Finding("classifier", "spam", Outcome.SPAM, threshold), policy=policy)
    below = points(Finding("classifier", "spam", Outcome.HAM, threshold * 0.98), policy=policy)
    assert at["classifier"] >= policy.add_header_score > below["classifier"]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_probability_that_is_no_number_gives_no_points(score: float) -> None:
    assert points(Finding("classifier", "spam", Outcome.SPAM, score)) == {}


def test_spf_and_dmarc_failures_add_up() -> None:
    dmarc = Finding("policy", "dmarc", Outcome.FAIL, facts={"policy.dmarc": "quarantine"})
    assert points(spf(Outcome.FAIL), dmarc=dmarc) == {"spf": 3.0, "dmarc": 3.0}


def test_an_spf_failure_of_forwarded_mail_is_forgiven_when_dmarc_passes() -> None:
    assert points(spf(Outcome.FAIL), dmarc=Finding("policy", "dmarc", Outcome.PASS)) == {}


def test_a_symbol_counts_once_however_often_it_is_found() -> None:
    policy = PolicyConfig(symbol_points={"dkim.dkim.fail": 0.5, "dkim.dkim": -0.25, "policy.gtube": 9.0})
    broken = Finding("dkim", "dkim", Outcome.FAIL)
    assert points(broken, broken, policy=policy) == {"dkim.dkim.fail": 0.5, "dkim.dkim": -0.25}


def test_a_symbol_may_name_the_dmarc_conclusion() -> None:
    policy = PolicyConfig(symbol_points={"policy.dmarc.pass": -1.0})
    assert points(dmarc=Finding("policy", "dmarc", Outcome.PASS), policy=policy) == {"policy.dmarc.pass": -1.0}


def test_a_flawed_from_field_counts_by_default() -> None:
    assert points(Finding("policy", "from_malformed", Outcome.HIT)) == {"policy.from_malformed": 2.0}


def test_the_largest_points_come_first() -> None:
    found = score_points([spf(Outcome.SOFTFAIL), Finding("classifier", "spam", Outcome.SPAM, 0.9)], None, POLICY)
    assert [p.source for p in found] == ["classifier", "spf"]
    assert found[1] == Points("spf", 100, "SPF softfail")
    assert found[1].reason == "spf: +1.00, SPF softfail"


@pytest.mark.parametrize(
    "settings",
    [
        {"classifier_spam_probability": 1.0},
        {"classifier_points_max": 4.0},
        {"classifier_points_min": 1.0},
        {"add_header_score": 0.0},
        {"add_header_score": float("nan")},
        {"reject_score": float("inf")},
        {"spf_points": {"fail": float("nan")}},
        {"symbol_points": {"policy.gtube": 1e300}},
    ],
)
def test_settings_that_contradict_the_table_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"`|numbers"):
        PolicyConfig(**settings)  # type: ignore[arg-type]
