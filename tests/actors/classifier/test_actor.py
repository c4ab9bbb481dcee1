import hashlib
import shutil

import msgspec
import pytest

from actors.actor import Budget
from actors.classifier.actor import ClassifierActor
from actors.classifier.learning.bounds import SourceKind
from actors.classifier.learning.commonness import Commonness
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.door import submit
from actors.classifier.learning.example import Example, Label
from actors.classifier.learning.learner import Learner
from actors.classifier.learning.scope import log_odds_of, moved
from actors.classifier.model import SHIPPED_MODEL, ModelError
from actors.config import ClassifierConfig
from actors.model import Envelope, Message, Outcome, Recipient, Stage
from tests.actors.classifier.learning.memory_journal import MemoryJournal
from tests.fakes import NOW_S, FakeClock

SPAM = Message(
    header_block=b'From: "Winner" <promo9@mail.example>\r\nTo: undisclosed-recipients:;\r\nSubject: FREE!!! '
    b"Make $5000 a week\r\nX-Priority: 1\r\nContent-Type: text/html\r\n",
    body=b"<html><body><font color=#ff0000 size=5><center>CLICK HERE to order now!</center></font> This is a "
    b"limited time offer, 100% guaranteed, no risk. To be removed from our mailing list click here: "
    b'<a href="http://10.0.0.1/remove.html">REMOVE</a></body></html>\r\n',
)
HAM = Message(
    header_block=b"From: Carla <carla@example.org>\r\nTo: dev@example.net\r\nSubject: Re: build broken on Debian\r\n"
    b"In-Reply-To: <a1@example.net>\r\nReferences: <a1@example.net>\r\nContent-Type: text/plain; charset=us-ascii\r\n",
    body=b"On Thu, Bernd wrote:\r\n> does it compile for you?\r\n\r\nIt did after I applied your patch to the "
    b"Makefile, but the tests still fail.\r\nI think the problem is in the linker script.\r\n\r\nCarla\r\n",
)


@pytest.fixture(scope="module")
def actor() -> ClassifierActor:
    return ClassifierActor(ClassifierConfig(), FakeClock())


async def examine(actor: ClassifierActor, message: Message, stage: Stage = Stage.MESSAGE):
    return await actor.examine(stage, message, Budget.lasting(FakeClock(), 5))


async def test_spam_is_spam_and_its_words_are_for_who_asks(actor):
    asked = Message(Envelope(explained=True), SPAM.header_block, SPAM.body)
    (finding,) = await examine(actor, asked)
    (bare,) = await examine(actor, SPAM)
    assert (bare.outcome, bare.score, bare.detail) == (finding.outcome, finding.score, "")
    assert (finding.actor, finding.name, finding.outcome) == ("classifier", "spam", Outcome.SPAM)
    assert 0.5 <= finding.score <= 1
    assert finding.detail
    assert finding.detail.isascii()
    assert finding.detail.isprintable()
    assert len(finding.detail) < 200


async def test_who_asks_is_told_which_model_said_so(actor):
    (finding,) = await examine(actor, Message(Envelope(explained=True), HAM.header_block, HAM.body))
    (bare,) = await examine(actor, HAM)
    assert finding.facts == {"model": actor.model_version}
    assert not bare.facts


def test_the_version_is_another_one_for_whatever_judges_otherwise(actor, tmp_path):
    card = SHIPPED_MODEL.with_suffix(".json").read_bytes()
    assert actor.model_version == hashlib.sha256(card).hexdigest()[:8], "so sha256sum of the card says it, too"
    path = tmp_path / "stricter.safetensors"
    shutil.copy(SHIPPED_MODEL, path)
    values = msgspec.json.decode(card)
    path.with_suffix(".json").write_bytes(msgspec.json.encode(values | {"threshold": 0.9}))
    assert ClassifierActor(ClassifierConfig(model=str(path)), FakeClock()).model_version != actor.model_version


async def test_ham_is_ham(actor):
    (finding,) = await examine(actor, HAM)
    assert finding.outcome is Outcome.HAM
    assert 0 <= finding.score < 0.5


@pytest.mark.parametrize(
    "message",
    [
        Message(),
        Message(header_block=b"\xff\0\xfe", body=b"\0" * 1000),
        Message(header_block=b"From: a\r\nFrom: b\r\n", body=b""),
        Message(header_block=b"Subject: \xe9\r\n", body=b"x" * 3_000_000),
    ],
    ids=["nothing", "not MIME", "two Froms, no body", "3 MB"],
)
async def test_bad_input_gets_a_probability(actor, message):
    (finding,) = await examine(actor, message)
    assert 0 <= finding.score <= 1


async def test_other_stages_are_not_asked(actor):
    assert not await examine(actor, SPAM, Stage.HEADERS)


async def test_what_a_tenant_has_taught_moves_its_mail_and_nobody_elses():
    journal = MemoryJournal()
    learning = LearningConfig()
    actor = ClassifierActor(
        ClassifierConfig(), FakeClock(), lambda read: Learner(journal, read, learning, FakeClock(), Commonness())
    )
    example = Example(
        label=Label.SPAM,
        kind=SourceKind.TENANT,
        source="acme",
        tenant="acme",
        header_block=HAM.header_block,
        body=HAM.body,
        at_s=NOW_S,
    )
    await submit(journal, learning, example)
    await examine(actor, HAM)
    for tenant, outcome in (("acme", Outcome.SPAM), ("other", Outcome.HAM)):
        envelope = Envelope(explained=True, recipients=(Recipient(b"a@b.example", tenant=tenant),))
        (finding,) = await examine(actor, Message(envelope, HAM.header_block, HAM.body))
        assert finding.outcome is outcome
        assert (len(finding.facts) > 1) is (tenant == "acme"), "beside the model's version"
    assert actor.counters()["learning_learnt"] == 1
    await actor.close()


@pytest.mark.parametrize("probability", [0.0, 1e-300, 0.5, 1 - 1e-16, 1.0])
def test_a_probability_is_moved_and_stays_one(probability):
    assert moved(probability, 0.0) == probability
    assert 0 <= moved(probability, -20.0) <= moved(probability, 20.0) <= 1
    assert moved(0.5, log_odds_of(0.9)) == pytest.approx(0.9)


def test_the_shipped_model_fits_its_card(actor):
    assert SHIPPED_MODEL.stat().st_size < 4 * 1024 * 1024
    held_out = actor.card.held_out
    assert held_out.recall >= 0.95
    assert held_out.false_positive_rate <= 0.01
    assert held_out.recall == pytest.approx(held_out.spam_found / held_out.spam, abs=1e-4)
    assert msgspec.json.decode(SHIPPED_MODEL.with_suffix(".json").read_bytes())["sha256"] == actor.card.sha256


def test_a_configured_model_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match=r"/nosuch\.safetensors"):
        ClassifierActor(ClassifierConfig(model="/nosuch.safetensors"), FakeClock())
