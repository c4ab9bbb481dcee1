import random
from collections.abc import Sequence

import msgspec
import pytest

from actors.actor import Budget
from actors.classifier.actor import ClassifierActor
from actors.classifier.campaigns.campaigns import Campaigns
from actors.classifier.campaigns.config import CampaignConfig, Scope
from actors.config import ClassifierConfig, JudgementConfig, PolicyConfig, RedisConfig
from actors.decide.score import score_points
from actors.model import Direction, Envelope, Finding, Message, Outcome, Recipient, Stage
from actors.registry import build_campaigns
from tests.actors.classifier.campaigns.mutations import MUTATIONS, mail, template
from tests.fakes import FakeCampaignStore, FakeClock
from wire.config import ConfigError, parse

SPAM = mail(template(1))
COPY = mail(MUTATIONS["10 % of words replaced"](template(1), random.Random(1)))
OTHER = mail(template(8))


def campaigns(store: FakeCampaignStore, **settings: object) -> Campaigns:
    return Campaigns(CampaignConfig(redis_prefix="t", **settings), store, FakeClock())  # type: ignore[arg-type]


async def found(known: Campaigns, message: Message) -> Sequence[Finding]:
    return await known.find(message, Budget.lasting(FakeClock(), 5))


def inbound(message: Message, *tenants: str) -> Message:
    recipients = tuple(Recipient(b"a@example.org", tenant=tenant) for tenant in tenants)
    return Message(Envelope(recipients=recipients), message.header_block, message.body)


def outbound(message: Message, tenant: str) -> Message:
    recipients = (Recipient(b"a@example.org"),)
    envelope = Envelope(tenant=tenant, direction=Direction.OUTBOUND, recipients=recipients)
    return Message(envelope, message.header_block, message.body)


async def test_a_copy_of_a_reported_message_is_a_hit_on_every_node():
    store = FakeCampaignStore()
    here, there = campaigns(store), campaigns(store)
    assert not await found(there, COPY)
    reported = await here.report(SPAM)
    (finding,) = await found(there, COPY)
    assert reported is not None
    assert (finding.actor, finding.name, finding.outcome) == ("classifier", "campaign", Outcome.HIT)
    assert finding.score >= CampaignConfig().similarity_min
    assert finding.facts == {"campaign": reported.campaign, "similarity": f"{finding.score:.2f}", "reports": "1"}
    assert not await found(there, OTHER)


async def test_a_report_of_a_copy_counts_for_its_campaign_and_the_same_bytes_count_once():
    known = campaigns(FakeCampaignStore())
    first, again, copy = [await known.report(message) for message in (SPAM, SPAM, COPY)]
    assert first is not None
    assert again == first
    assert copy is not None
    assert (copy.campaign, copy.reports) == (first.campaign, 2)
    assert copy.similarity < 1


async def test_a_campaign_counts_from_so_many_reports_on():
    known = campaigns(FakeCampaignStore(), reports_min=2)
    await known.report(SPAM)
    assert not await found(known, COPY)
    await known.report(COPY)
    assert await found(known, SPAM)


async def test_a_copy_must_be_as_similar_as_the_settings_say():
    known = campaigns(FakeCampaignStore(), similarity_min=0.95)
    reported = [await known.report(message) for message in (SPAM, COPY)]
    assert len({one.campaign for one in reported if one}) == 2
    (finding,) = await found(known, SPAM)
    assert reported[0] is not None
    assert finding.facts["campaign"] == reported[0].campaign


async def test_what_is_forgotten_is_found_no_more_by_any_copy():
    known = campaigns(FakeCampaignStore())
    reported = await known.report(SPAM)
    assert reported is not None
    assert await known.forget(OTHER) == []
    assert await known.forget(COPY) == [reported.campaign]
    assert not await found(known, SPAM)


async def test_tenants_know_their_own_campaigns_only_where_the_scope_says_so():
    store = FakeCampaignStore()
    shared, own = campaigns(store), campaigns(store, scope=Scope.TENANT)
    for known, others in ((shared, 1), (own, 0)):
        await known.report(SPAM, "a")
        assert len(await found(known, inbound(COPY, "a"))) == 1
        assert len(await found(known, inbound(COPY, "b"))) == others
        assert len(await found(known, inbound(COPY, "b", "a"))) == 1
        assert len(await found(known, outbound(COPY, "a"))) == 1
        assert len(await found(known, outbound(COPY, "b"))) == others
        assert len(await known.forget(COPY, "b")) == others
        assert len(await found(known, inbound(COPY, "a"))) == 1 - others


async def test_a_message_with_too_little_text_is_neither_reported_nor_asked_about():
    store = FakeCampaignStore()
    known = campaigns(store)
    store.available = False
    small = mail(["thanks"])
    assert await known.report(small) is None
    assert not await found(known, small)
    assert await known.forget(small) == []


async def test_a_store_that_is_away_is_an_error_finding():
    store = FakeCampaignStore()
    store.available = False
    (finding,) = await found(campaigns(store), SPAM)
    assert (finding.actor, finding.name, finding.outcome) == ("classifier", "campaign", Outcome.ERROR)
    assert finding.detail.startswith("unreachable")


async def test_a_store_that_hangs_is_waited_for_within_the_budget_and_the_probability_stands():
    store = FakeCampaignStore()
    store.hangs = True
    actor = ClassifierActor(ClassifierConfig(), FakeClock(), campaigns=campaigns(store))
    budget = Budget.lasting(FakeClock(), 0.01)
    spam, error = await actor.examine(Stage.MESSAGE, SPAM, budget)
    assert spam.name == "spam"
    assert (error.outcome, error.detail) == (Outcome.ERROR, "timeout")
    assert [lookup.name for lookup in budget.lookups] == ["redis"]
    await actor.close()
    assert store.closed


async def test_the_policy_gives_points_that_alone_make_spam_of_what_the_classifier_takes_for_ham():
    store = FakeCampaignStore()
    known = campaigns(store)
    await known.report(SPAM)
    (finding,) = await found(known, COPY)
    policy = PolicyConfig()
    ham = Finding("classifier", "spam", Outcome.HAM, 0.0)
    points = score_points([ham, finding], None, policy)
    assert {point.source for point in points} == {"classifier", "classifier.campaign.hit"}
    score = sum(point.hundredths for point in points) / 100
    assert policy.add_header_score <= score < policy.reject_score


def test_without_prefix_or_redis_there_are_none():
    redis = RedisConfig(url="redis://127.0.0.1:1")
    on = ClassifierConfig(campaigns=CampaignConfig(redis_prefix="t"))
    assert build_campaigns(JudgementConfig(), FakeClock()) is None
    assert build_campaigns(JudgementConfig(redis=redis), FakeClock()) is None
    assert build_campaigns(JudgementConfig(classifier=on), FakeClock()) is None
    assert build_campaigns(JudgementConfig(redis=redis, classifier=on), FakeClock()) is not None


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("similarity_min = 0.1", "`similarity_min` must be between 0.3 and 1"),
        ("reports_min = 0", "`reports_min` must be between 1 and 1000"),
        ("expire_days = 0", "`expire_days` must be between 1 and 365"),
        ("campaigns_max = 0", "`campaigns_max` must be between 1 and"),
        ('redis_prefix = "a{b}"', "`redis_prefix` must not hold braces"),
        ('scope = "user"', "Invalid enum value 'user'"),
    ],
)
def test_wrong_settings_are_refused(line, complaint):
    with pytest.raises(ConfigError) as error:
        parse(f"[classifier.campaigns]\n{line}\n", _Root)
    assert complaint in str(error.value)


class _Root(msgspec.Struct, frozen=True):
    classifier: ClassifierConfig = ClassifierConfig()
