"""CPU that each actor takes for one message, alone in this process: no streams, no DNS latency, no Redis, no clamd.

    .venv/bin/python -m bench.actors_cpu DIR... [--least-bytes 5000 --most-bytes 7000] [--rounds 5]

Examines every mail of the directories whose size is in range, each time as a message nobody has parsed yet, at all
stages that the actor asks for, and prints the mean of each round's best third: a shared machine adds, never takes.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from actors.actor import Actor, Budget
from actors.adapters.clock import SystemClock
from actors.adapters.zone import ZoneResolver
from actors.classifier.corpus import as_message
from actors.config import JudgementConfig
from actors.examine import known_at
from actors.model import Client, Envelope, Message, Recipient, Stage
from actors.registry import ACTOR_NAMES, build_actor

ENVELOPE = Envelope(
    transaction_id=b"bench",
    client=Client(ip="192.0.2.25", hostname=b"mail.example.org", helo=b"mail.example.org"),
    sender=b"bench@example.org",
    recipients=(Recipient(b"bench@example.net"),),
    received_at_s=1_030_000_000.0,
)
BUDGET_S = 30.0


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--least-bytes", type=int, default=5000)
    parser.add_argument("--most-bytes", type=int, default=7000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    mails = [
        path.read_bytes()
        for directory in options.directories
        for path in sorted(directory.rglob("*"))
        if path.is_file() and options.least_bytes <= path.stat().st_size <= options.most_bytes
    ]
    if not mails:
        parser.error("no mail of that size in these directories")
    mean_bytes = sum(map(len, mails)) / len(mails)
    print(f"{len(mails)} messages of {mean_bytes:.0f} bytes, {options.rounds} rounds")
    total = 0.0
    for name in ACTOR_NAMES:
        actor = build_actor(name, JudgementConfig(), SystemClock(), ZoneResolver.from_text(""))
        cost_ms = asyncio.run(measure(actor, mails, options.rounds))
        total += cost_ms
        print(f"{name:12} {cost_ms:6.3f} ms CPU per message")
    print(f"{'all':12} {total:6.3f} ms CPU per message")


async def measure(actor: Actor, mails: Sequence[bytes], rounds: int) -> float:
    """CPU milliseconds per message: each mail's best third of its rounds, averaged over the mails."""
    best_s = 0.0
    for raw in mails:
        costs = sorted([await examine_once(actor, raw) for _ in range(rounds)])
        kept = costs[: max(1, rounds // 3)]
        best_s += sum(kept) / len(kept)
    await actor.close()
    return best_s / len(mails) * 1000


async def examine_once(actor: Actor, raw: bytes) -> float:
    """CPU seconds of one message at all stages of the actor."""
    parsed = as_message(raw)
    message = Message(ENVELOPE, parsed.header_block, parsed.body)
    asked = [(stage, known) for stage in Stage if stage in actor.stages for known in known_at(stage, message)]
    budget = Budget.lasting(SystemClock(), BUDGET_S)
    started_s = time.process_time()
    for stage, known in asked:
        await actor.examine(stage, known, budget)
    return time.process_time() - started_s


if __name__ == "__main__":
    main()
