"""CPU time of authentication in this process: `python -m bench.auth [--rounds 5] [--json]`.

Two kinds of figures, each a median over rounds:

    dkim_verify_ms.*   one RSA-2048 signature, relaxed/relaxed: body and fields canonicalised, hashed, verified; the
                       message is already cut into fields, the key is in the cache, as it is for most mail
    hostile_ms.*       all that DKIM, SPF, DMARC and the verdict do with one message of tests/hostile_mail.py,
                       stage by stage, DNS answered from memory

Other work on the machine only adds to CPU time: the figures are upper bounds.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

from actors.actor import Actor, Budget
from actors.adapters.clock import SystemClock
from actors.adapters.zone import ZoneResolver
from actors.config import DkimConfig
from actors.decide.verdict import decide
from actors.dkim.actor import DkimActor
from actors.examine import examine_all
from actors.model import Message, Outcome, Stage
from actors.policy.actor import PolicyActor
from bench.figures import show
from tests.hostile_case import Case
from tests.hostile_mail import all_cases
from tests.signing import signed_message, zone

VERIFIED_BODIES = {"4_kb": 4096, "2_mb": 2 * 1024 * 1024}
REPEATED_FOR_S = 0.1
"""Short work is repeated for so long in each round: a clock tick is a part of it otherwise."""
BUDGET_S = 20.0
_LINE = b"A line of text as people write it, with words of a few letters each; 78.\r\n"


def body_of(size_bytes: int) -> bytes:
    """Text of about this size."""
    return _LINE * (size_bytes // len(_LINE))


def fresh(message: Message) -> Message:
    """The same message, of which nobody has read anything yet."""
    return Message(message.envelope, message.header_block, message.body)


async def cpu_ms(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Median of what one call takes."""
    taken_ms = []
    for _ in range(rounds):
        calls, started_s = 0, time.process_time()
        while not calls or time.process_time() - started_s < REPEATED_FOR_S:
            await work()
            calls += 1
        taken_ms.append((time.process_time() - started_s) / calls * 1000)
    return round(median(taken_ms), 3)


async def verify_ms(body: bytes, rounds: int) -> float:
    """One good signature over this body. Raises AssertionError when it does not verify."""
    message = signed_message(body=body)
    assert message.fields_by_name
    clock = SystemClock()
    actor = DkimActor(DkimConfig(), ZoneResolver.from_text(zone()), clock)

    async def examined() -> None:
        found = await actor.examine(Stage.MESSAGE, message, Budget.lasting(clock, BUDGET_S))
        if [finding.outcome for finding in found] != [Outcome.PASS]:
            raise AssertionError(found)

    return await cpu_ms(examined, rounds)


async def hostile_ms(case: Case, rounds: int) -> float:
    """All authentication of one hostile message, the verdict included."""
    config, clock = case.config, SystemClock()
    resolver = case.resolver()
    actors: list[Actor] = [
        DkimActor(config.dkim, resolver, clock),
        PolicyActor(config, resolver, None, clock),
    ]

    async def examined() -> None:
        message = fresh(case.message)
        findings = await examine_all(actors, message, clock, BUDGET_S)
        decide(findings, message, config, expected=("dkim", "policy"))

    return await cpu_ms(examined, rounds)


async def figures(rounds: int) -> dict[str, float]:
    """All of them by name."""
    verified = {
        f"dkim_verify_ms.{name}": await verify_ms(body_of(size), rounds) for name, size in VERIFIED_BODIES.items()
    }
    hostile = {f"hostile_ms.{name}": await hostile_ms(case, rounds) for name, case in all_cases().items()}
    return verified | hostile


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    show(asyncio.run(figures(options.rounds)), as_json=options.json)


if __name__ == "__main__":
    main()
