"""Which step of a rotation is next, and the state after it: values in, values out.

Every step can be done twice: a run that is killed in the middle of one leaves the state before it, and the next run
does it again. The order keeps three promises at every moment: a record is published after its private key is safe, the
KeyTable names a key only when no resolver can still remember that its record was not there, and a private key is
deleted when neither the table nor mail on its way needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from actors.dkim.rotation.config import Timing
from actors.dkim.rotation.state import KeyPlace, Phase, Rotation, record_name
from actors.dkim.rotation.visibility import Visibility

TELL_AGAIN_S = 3600
"""DNS that does not have after so long what it was told is told again."""
STUCK_S = 86_400
"""What has to wait for so long is a problem for people."""


class StepKind(StrEnum):
    """What to do. The first three are nothing; the others change something."""

    REST = "rest"
    """Nothing is due."""
    WAIT = "wait"
    """Time, or a server, has to do its part."""
    HELD = "held"
    """A person has to do something, which the text says."""
    BEGIN = "begin"
    """Choose selector and file of a new key."""
    MAKE_KEY = "make key"
    PUBLISH = "publish"
    NOTE_VISIBLE = "visible"
    NOTE_LOST = "no longer visible"
    SWITCH = "switch"
    WITHDRAW = "withdraw"
    RETIRE = "retire"
    """Delete the private key, unless another entry uses it."""


IDLE_STEPS = frozenset({StepKind.REST, StepKind.WAIT, StepKind.HELD})
_TELLS_DNS = frozenset({StepKind.PUBLISH, StepKind.WITHDRAW})
_PHASE_AFTER = {
    # A key in place of one that was lost has to be published in its place.
    StepKind.MAKE_KEY: Phase.PLANNED,
    StepKind.PUBLISH: Phase.PUBLISHED,
    StepKind.NOTE_VISIBLE: Phase.VISIBLE,
    StepKind.NOTE_LOST: Phase.PUBLISHED,
    StepKind.SWITCH: Phase.SWITCHED,
    StepKind.WITHDRAW: Phase.WITHDRAWN,
    StepKind.RETIRE: Phase.RETIRED,
}


@dataclass(frozen=True, slots=True)
class Step:
    """What is next and why."""

    kind: StepKind
    text: str = ""
    due_s: float | None = None
    """Unix time at which it can go on; None = that depends on others."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the world showed."""

    entry: KeyPlace | None
    """What the KeyTable's entry names now; None without such an entry for the domain."""
    key_made_s: float | None = None
    """When the key that signs now was made; None when its file cannot be read. Asked for when nothing is under way."""
    new_key: bool = False
    """The new private key can be read."""
    visibility: Visibility | None = None
    """Of the new record until the switch, of the absence of the doomed one after it was withdrawn."""
    dns_problem: str = ""
    """Why nobody could be asked."""
    record_users: Sequence[str] = ()
    """What else needs the doomed record."""
    key_users: Sequence[str] = ()
    """What else needs the doomed private key."""


def next_step(rotation: Rotation | None, seen: Seen, now_s: float, timing: Timing, *, wanted: bool = False) -> Step:
    """The step that is next; `wanted`: a new rotation is to begin whether or not one is due."""
    if rotation is None or rotation.over:
        return _resting(rotation, seen, now_s, timing, wanted=wanted)
    if rotation.phase is Phase.WITHDRAWN:
        return _withdrawn(rotation, seen, now_s)
    if rotation.cancelled or rotation.phase is Phase.SWITCHED:
        return _switched(rotation, seen, now_s, timing)
    return _before_the_switch(rotation, seen, now_s)


def _resting(rotation: Rotation | None, seen: Seen, now_s: float, timing: Timing, *, wanted: bool) -> Step:
    if seen.entry is None:
        return Step(StepKind.HELD, "the KeyTable has no such entry")
    if seen.key_made_s is None:
        return Step(StepKind.HELD, f"the private key {seen.entry.key} cannot be read: it signs nothing; see testkey")
    if wanted:
        return Step(StepKind.BEGIN, "was asked for")
    if not timing.interval_s:
        return Step(StepKind.REST, "begins when --now names it")
    made_s = seen.key_made_s
    if rotation is not None and rotation.cancelled:
        made_s = max(made_s, rotation.begun_s)  # Who cancels does not want it to begin again at once.
    elif rotation is not None and rotation.new.is_same(seen.entry):
        made_s = rotation.begun_s
    due_s = made_s + timing.interval_s
    if now_s >= due_s:
        return Step(StepKind.BEGIN, "is due")
    return Step(StepKind.REST, "is not due", due_s)


def _before_the_switch(rotation: Rotation, seen: Seen, now_s: float) -> Step:
    if rotation.phase is Phase.VISIBLE and seen.entry == rotation.new:
        return Step(StepKind.SWITCH, "was done by a run that did not come to its end")
    if seen.entry not in (rotation.old, rotation.new):
        return Step(StepKind.HELD, "the KeyTable's entry was changed or removed by hand: --cancel gives the new key up")
    if not seen.new_key:
        return Step(StepKind.MAKE_KEY, f"{rotation.key_type} in {rotation.new.key}")
    name = record_name(rotation.domain, rotation.new.selector)
    if rotation.phase is Phase.PLANNED:
        return Step(StepKind.PUBLISH, name)
    if seen.visibility is None:
        return _waiting(rotation.phase_since_s, now_s, seen.dns_problem)
    judge = _published if rotation.phase is Phase.PUBLISHED else _visible
    return judge(rotation, seen.visibility, now_s, name)


def _published(rotation: Rotation, visibility: Visibility, now_s: float, name: str) -> Step:
    if visibility.everywhere:
        return Step(StepKind.NOTE_VISIBLE, f"{name}: {visibility.text}")
    if visibility.behind and now_s >= rotation.told_s + TELL_AGAIN_S:
        return Step(StepKind.PUBLISH, f"{name} again: {visibility.text}")
    return _waiting(rotation.phase_since_s, now_s, f"{name}: {visibility.text}")


def _visible(rotation: Rotation, visibility: Visibility, now_s: float, name: str) -> Step:
    if visibility.behind:
        return Step(StepKind.NOTE_LOST, f"{name}: {visibility.text}")
    if now_s < rotation.phase_since_s:
        return Step(StepKind.NOTE_VISIBLE, f"{name}: the clock was set back")
    due_s = rotation.phase_since_s + max(rotation.wait_s, visibility.ttl_s)
    if now_s < due_s:
        return Step(StepKind.WAIT, f"{name}: until resolvers have forgotten what was there before", due_s)
    if visibility.silent:
        return _waiting(due_s, now_s, f"{name}: {visibility.text}")
    return Step(StepKind.SWITCH, f"to {name}")


def _switched(rotation: Rotation, seen: Seen, now_s: float, timing: Timing) -> Step:
    name = record_name(rotation.domain, rotation.doomed.selector)
    if not rotation.cancelled:
        if seen.entry == rotation.old:
            return Step(
                StepKind.HELD,
                f"the KeyTable's entry names the old key again: point it to {rotation.new.key}, or say --cancel",
            )
        if seen.entry == rotation.new and not seen.new_key:
            return Step(
                StepKind.HELD,
                f"the private key {rotation.new.key} is gone and nothing is signed: bring it back, or point the entry "
                f"to {rotation.old.selector}:{rotation.old.key} and say --cancel",
            )
    if needs_doomed_record(rotation, now_s, timing):
        return Step(StepKind.WAIT, f"{name}: for mail that is on its way", rotation.phase_since_s + timing.grace_s)
    if seen.record_users:
        return Step(StepKind.HELD, f"{name} stays as long as {', '.join(seen.record_users)} signs with it")
    return Step(StepKind.WITHDRAW, name)


def _withdrawn(rotation: Rotation, seen: Seen, now_s: float) -> Step:
    name = record_name(rotation.domain, rotation.doomed.selector)
    if seen.record_users:
        users = ", ".join(seen.record_users)
        return Step(StepKind.HELD, f"{name} is withdrawn, but {users} signs with it: point that to another key")
    if seen.visibility is None:
        return _waiting(rotation.phase_since_s, now_s, seen.dns_problem)
    if seen.visibility.behind and now_s >= rotation.told_s + TELL_AGAIN_S:
        return Step(StepKind.WITHDRAW, f"{name} again: {seen.visibility.text}")
    if not seen.visibility.everywhere:
        return _waiting(rotation.phase_since_s, now_s, f"{name}: {seen.visibility.text}")
    kept = f" stays: {', '.join(seen.key_users)} signs with it" if seen.key_users else ""
    return Step(StepKind.RETIRE, f"{rotation.doomed.key}{kept}")


def _waiting(since_s: float, now_s: float, text: str) -> Step:
    """For servers: at first that is how DNS is, after a day it is a problem."""
    return Step(StepKind.HELD if now_s >= since_s + STUCK_S else StepKind.WAIT, text)


def advanced(rotation: Rotation, step: Step, seen: Seen, now_s: float) -> Rotation:
    """The state after a step was done."""
    phase = _PHASE_AFTER[step.kind]
    since_s = rotation.phase_since_s if phase is rotation.phase and step.kind in _TELLS_DNS else now_s
    wait_s = rotation.wait_s
    if step.kind is StepKind.NOTE_VISIBLE and seen.visibility is not None:
        wait_s = max(wait_s, seen.visibility.ttl_s)
    told_s = now_s if step.kind in _TELLS_DNS else rotation.told_s
    return msgspec.structs.replace(rotation, phase=phase, phase_since_s=since_s, wait_s=wait_s, told_s=told_s)


def needs_doomed_record(rotation: Rotation, now_s: float, timing: Timing) -> bool:
    """Whether the record that goes with this rotation is still needed: by its entry, or by mail that was signed so."""
    if rotation.phase in (Phase.WITHDRAWN, Phase.RETIRED):
        return False
    if rotation.phase is Phase.SWITCHED or (rotation.cancelled and rotation.phase is Phase.VISIBLE):
        # A run that was killed may have switched without having said so.
        return now_s < rotation.phase_since_s + timing.grace_s
    return not rotation.cancelled
