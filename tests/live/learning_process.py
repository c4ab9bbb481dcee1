"""A process that learns, to be killed: python -m tests.live.learning_process URL STATE_FILE.

After every turn it writes how far it is and a digest of its weights.
"""

import asyncio
import contextlib
import hashlib
import sys
from pathlib import Path

from actors.adapters.clock import SystemClock
from actors.adapters.redis_journal import RedisJournal
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.journal import JournalAway
from actors.classifier.learning.learner import Learner
from actors.classifier.learning.weights import Weights
from actors.config import RedisConfig
from tests.actors.classifier.learning.lessons import Even, read

VERSION = 7
CONFIG = LearningConfig(user_examples_per_day=1_000_000, user_shift_per_day=1e6)
"""Nothing is refused: what is, depends on when it comes."""


def state_of(weights: Weights) -> str:
    """Position and digest of all layers."""
    digest = hashlib.sha256()
    for name, layer in sorted(weights.layers.items()):
        digest.update(f"{name} {layer.taught}\n".encode() + layer.table.tobytes())
    return f"{weights.position.to_text()} {digest.hexdigest()}"


def journal_at(url: str, config: LearningConfig = CONFIG) -> RedisJournal:
    return RedisJournal(RedisConfig(url=url, timeout_s=2.0), config, VERSION)


async def main(url: str, state: Path) -> None:
    learner = Learner(journal_at(url), read, CONFIG, SystemClock(), Even())
    while True:
        with contextlib.suppress(JournalAway):
            await learner.turn()
        partial = state.with_suffix(".partial")
        partial.write_text(state_of(learner.weights))
        partial.replace(state)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
