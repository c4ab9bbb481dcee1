"""Asks actors about a message so that nothing they do can hurt the asker: late and crashed become findings.

`examine_caught` is the one place where an actor is called, in a Ray actor as in one process. `examine_all` is the
whole way of one message for `tamis scan --local`: the stages in their order, the actors of a stage in parallel.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence

import msgspec

from actors.actor import Actor, Budget
from actors.model import ErrorKind, Finding, Message, Stage, error_finding
from actors.ports import Clock

_log = logging.getLogger(__name__)


async def examine_guarded(actor: Actor, stage: Stage, message: Message, budget: Budget) -> tuple[Finding, ...]:
    """The same within the budget: one ERROR finding when the actor is late."""
    started_s = budget.clock.monotonic_s()
    if budget.left_s <= 0:
        return (error_finding(actor.name, actor.name, ErrorKind.TIMEOUT, "no time left"),)
    try:
        async with asyncio.timeout(budget.left_s):
            return await examine_caught(actor, stage, message, budget)
    except TimeoutError:
        return (error_finding(actor.name, actor.name, ErrorKind.TIMEOUT, stage.value, _ms_since(started_s, budget)),)


async def examine_caught(actor: Actor, stage: Stage, message: Message, budget: Budget) -> tuple[Finding, ...]:
    """The actor's findings with `ms` filled in; one ERROR finding when it raises. The caller sees to the deadline.

    Raises nothing but CancelledError. A crash is logged with its stack but without its text, which may hold mail.
    """
    started_s = budget.clock.monotonic_s()
    try:
        findings = await actor.examine(stage, message, budget)
    except Exception as error:  # noqa: BLE001 - the boundary: whatever an actor raises is a finding
        kind = type(error).__name__
        _log.error("actor %s crashed at stage %s: %s\n%s", actor.name, stage.value, kind, stack_of(error))
        return (error_finding(actor.name, actor.name, ErrorKind.CRASH, kind, _ms_since(started_s, budget)),)
    ms = _ms_since(started_s, budget)
    return tuple(finding if finding.ms else msgspec.structs.replace(finding, ms=ms) for finding in findings)


async def examine_all(actors: Sequence[Actor], message: Message, clock: Clock, budget_s: float) -> list[Finding]:
    """Every finding about a complete message: all stages in their order, within one deadline for all of them."""
    deadline_s = clock.monotonic_s() + budget_s
    findings: list[Finding] = []
    for stage in Stage:
        for known in known_at(stage, message):
            asked = [actor for actor in actors if stage in actor.stages]
            started_s = clock.monotonic_s()
            answers = await asyncio.gather(
                *(examine_guarded(actor, stage, known, Budget(clock, started_s, deadline_s)) for actor in asked)
            )
            findings.extend(finding for answer in answers for finding in answer)
    return findings


def known_at(stage: Stage, message: Message) -> Iterator[Message]:
    """What is known of a complete message when this stage is reached: once per recipient at RECIPIENT, else once.

    Nothing at the stages that exist for an MTA that waits: what is asked there ENVELOPE asks too. Nothing at SIGN: no
    verdict is drawn yet, and nothing leaves.
    """
    envelope = message.envelope
    match stage:
        case Stage.CONNECT | Stage.HELO | Stage.MAIL:
            return
        case Stage.ENVELOPE:
            yield Message(msgspec.structs.replace(envelope, recipients=()))
        case Stage.RECIPIENT:
            for count in range(1, len(envelope.recipients) + 1):
                yield Message(msgspec.structs.replace(envelope, recipients=envelope.recipients[:count]))
        case Stage.HEADERS:
            yield Message(envelope, message.header_block)
        case Stage.MESSAGE:
            yield message
        case Stage.SIGN:
            return


def _ms_since(started_s: float, budget: Budget) -> float:
    return (budget.clock.monotonic_s() - started_s) * 1000


def stack_of(error: BaseException) -> str:
    """Where it happened, file by file; neither the exception's text nor local values."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_qualname}")
        trace = trace.tb_next
    return "\n".join(frames)
