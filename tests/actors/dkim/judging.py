"""The DKIM actor with keys in memory, and what it says of one message."""

from collections.abc import Sequence
from typing import Any

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.model import Finding, Message, Stage
from tests.fakes import FakeClock, FakeResolver, budget
from tests.signing import zone

CANONICALIZATIONS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")


def actor(resolver: FakeResolver | None = None, **settings: Any) -> DkimActor:
    return DkimActor(DkimConfig(**settings), resolver or FakeResolver(zone()), FakeClock())


async def examine(subject: Message, resolver: FakeResolver | None = None, **settings: Any) -> Sequence[Finding]:
    return await actor(resolver, **settings).examine(Stage.MESSAGE, subject, budget())


async def judge(subject: Message, resolver: FakeResolver | None = None, **settings: Any) -> tuple[str, str]:
    """Outcome and detail of the only signature."""
    (found,) = await examine(subject, resolver, **settings)
    return found.outcome.value, found.detail
