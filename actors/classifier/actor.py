"""Says how probably a message is spam, and which of its words say so. No lookups: content alone."""

from collections.abc import Sequence
from pathlib import Path

from actors.actor import Budget
from actors.classifier import features, model
from actors.config import ClassifierConfig
from actors.model import Finding, Message, Outcome, Stage
from actors.ports import Clock

EVIDENCE_WORDS = 5


class ClassifierActor:
    """One finding "spam": outcome spam or ham, score the probability of spam; its words where somebody reads them."""

    name = "classifier"
    stages = frozenset({Stage.MESSAGE})

    def __init__(self, config: ClassifierConfig, clock: Clock) -> None:
        """Load the model. Raises ModelError."""
        self._clock = clock
        self._model, self.card = model.load(Path(config.model) if config.model else model.SHIPPED_MODEL)

    async def examine(self, stage: Stage, message: Message, budget: Budget) -> Sequence[Finding]:  # noqa: ARG002
        """Score the message. Needs no time from the budget: the cost is bounded by what the features look at."""
        if stage is not Stage.MESSAGE:
            return ()
        started_s = self._clock.monotonic_s()
        grams = features.grams(message)
        probability = self._model.probability(grams)
        spam = probability >= self._model.threshold
        # A quarter of what the model costs: not for mail of which nobody asks why.
        explained = message.envelope.explained
        words = self._model.evidence(grams, spam=spam, count=EVIDENCE_WORDS) if explained else ()
        outcome = Outcome.SPAM if spam else Outcome.HAM
        ms = (self._clock.monotonic_s() - started_s) * 1000
        return (Finding(self.name, "spam", outcome, probability, " ".join(words), ms),)

    async def close(self) -> None:
        """Nothing to give back."""
