"""Where examples come in: checked, bounded, and in the journal before the answer."""

from collections.abc import Mapping

from actors.classifier.learning.bounds import Refusal
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.example import Example, check_example, digest_of, encode_example
from actors.classifier.learning.journal import Journal, Receipt, Subject


async def submit(journal: Journal, config: LearningConfig, example: Example) -> Receipt | Refusal:
    """Have an example learnt. Raises ExampleError for what cannot be one, JournalAway."""
    subject = subject_of(example, check_example(example))
    return await journal.submit(encode_example(example), subject, config.bounds(example.kind))


def subject_of(example: Example, shares: Mapping[str, float]) -> Subject:
    """What the journal keeps of it."""
    source = f"{example.kind}:{example.tenant}:{example.source}"
    return Subject(digest_of(example.message), tuple(shares), example.label, example.day, source)
