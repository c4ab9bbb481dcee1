"""Says how probably a message is spam, which of its words say so, and whether it is a copy of reported spam."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from actors.actor import Budget
from actors.classifier import features, model
from actors.classifier.learning.layers import Slots
from actors.classifier.learning.learner import Learner, Read
from actors.classifier.learning.scope import log_odds_of, moved
from actors.classifier.shadow import Shadow
from actors.config import ClassifierConfig
from actors.model import NO_FACTS, Finding, Message, Outcome, Stage
from actors.ports import Clock

if TYPE_CHECKING:
    from actors.classifier.campaigns.campaigns import Campaigns

_log = logging.getLogger(__name__)

EVIDENCE_WORDS = 5


class ClassifierActor:
    """One finding "spam": outcome spam or ham, score the probability of spam; its words where somebody reads them.

    With a learner, what was learnt for the recipients moves the log-odds. With `campaigns` also one of its findings
    "campaign", if it has any.
    """

    name = "classifier"
    stages = frozenset({Stage.MESSAGE})

    def __init__(
        self,
        config: ClassifierConfig,
        clock: Clock,
        learning: Callable[[Read], Learner] | None = None,
        campaigns: "Campaigns | None" = None,
    ) -> None:
        """Load the models. Raises ModelError."""
        self._clock = clock
        self._campaigns = campaigns
        path = Path(config.model) if config.model else model.SHIPPED_MODEL
        self._model, self.card = model.load(path)
        self.model_version = model.version_of(self.card)
        self._shadow = None
        if config.shadow_model:
            self._shadow = Shadow(Path(config.shadow_model), config.shadow_share, self.model_version, clock)
        self._learner = learning(self._read) if learning is not None else None
        _log.info("model_loaded version=%s path=%s", self.model_version, path)

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:
        """Score the message, then ask about campaigns.

        Only that waits, within the budget, and the first message of a replica, until the learnt weights are there.
        """
        if stage is not Stage.MESSAGE:
            return ()
        if self._learner is not None:
            await self._learner.ready(budget.left_s)
        spam = self._spam(message)
        return (spam, *await self._campaigns.find(message, budget)) if self._campaigns else (spam,)

    def counters(self) -> Mapping[str, int]:
        """Of the second model, and of what was learnt."""
        counting = [one.counters() for one in (self._shadow, self._learner) if one is not None]
        return {name: count for counters in counting for name, count in counters.items()}

    async def close(self) -> None:
        """Stop learning, and give back the connections of the campaigns' store."""
        if self._learner is not None:
            await self._learner.close()
        if self._campaigns:
            await self._campaigns.close()

    def _spam(self, message: Message) -> Finding:
        started_s = self._clock.monotonic_s()
        grams = features.grams(message)
        learnt: tuple[tuple[str, float], ...] = ()
        if self._learner is not None:
            learnt = self._learner.contributions(grams.distinct, message.envelope)
        shift = sum(one for _, one in learnt)
        probability = moved(self._model.probability(grams), shift)
        spam = probability >= self._model.threshold
        # A quarter of what the model costs: not for mail of which nobody asks why.
        explained = message.envelope.explained
        words = self._model.evidence(grams, spam=spam, count=EVIDENCE_WORDS) if explained else ()
        facts = (
            {"model": self.model_version, **{name: f"{one:+.2f}" for name, one in learnt}} if explained else NO_FACTS
        )
        outcome = Outcome.SPAM if spam else Outcome.HAM
        ms = (self._clock.monotonic_s() - started_s) * 1000
        if self._shadow is not None:
            self._shadow.compare(
                message.envelope.transaction_id,
                probability,
                lambda second: moved(second.probability(grams), shift),
                spam=spam,
            )
        return Finding(self.name, "spam", outcome, probability, " ".join(words), ms, facts)

    def _read(self, message: Message) -> tuple[Slots, float]:
        """What a lesson begins with: the slots, and the log-odds without any layer."""
        grams = features.grams(message)
        return grams.distinct, log_odds_of(self._model.probability(grams))
