"""actors/dkim/rotation/plan.py: no order of events makes a step that breaks what KeyTable, DNS or mail relies on."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dkim.rotation.config import Timing
from actors.dkim.rotation.plan import IDLE_STEPS, STUCK_S, Seen, StepKind, advanced, needs_doomed_record, next_step
from actors.dkim.rotation.state import KeyPlace, Phase, Rotation
from actors.dkim.rotation.visibility import Visibility

OLD, NEW, THIRD = KeyPlace("old", "/k/old"), KeyPlace("new", "/k/new"), KeyPlace("third", "/k/third")
NOW_S = 1_800_000_000.0
TIMING = Timing(interval_s=180 * 86_400, grace_s=7 * 86_400)
EVERYWHERE = Visibility((), (), 2, 600)
BEHIND = Visibility(("ns2: no record",), (), 2, 600)
SILENT = Visibility((), ("ns2: does not answer",), 2, 600)


def rotation(phase: Phase, **more: object) -> Rotation:
    made = Rotation(
        name="r",
        domain="example.org",
        old=OLD,
        new=NEW,
        key_type="rsa",
        phase=phase,
        phase_since_s=NOW_S,
        begun_s=NOW_S,
        told_s=NOW_S,
        wait_s=600,
    )
    return msgspec.structs.replace(made, **more)


SEEN = st.builds(
    Seen,
    entry=st.sampled_from([OLD, NEW, THIRD, None]),
    key_made_s=st.just(NOW_S),
    new_key=st.booleans(),
    visibility=st.sampled_from([EVERYWHERE, BEHIND, SILENT, None]),
    record_users=st.sampled_from([(), ("other",)]),
    key_users=st.sampled_from([(), ("other",)]),
)
AGES_S = st.sampled_from([-100.0, 0.0, 599.0, 600.0, 4000.0, 8 * 86_400.0, 400 * 86_400.0])


@given(st.sampled_from(Phase), st.booleans(), SEEN, AGES_S)
def test_whatever_is_seen_nothing_is_switched_withdrawn_or_deleted_too_early(
    phase: Phase,
    cancelled: bool,  # noqa: FBT001
    seen: Seen,
    age_s: float,
) -> None:
    before = rotation(phase, cancelled=cancelled)
    step = next_step(before, seen, NOW_S + age_s, TIMING)
    match step.kind:
        case StepKind.SWITCH:
            assert (phase, cancelled) == (Phase.VISIBLE, False)
            if seen.entry != NEW:
                assert (seen.entry, seen.new_key, seen.visibility) == (OLD, True, EVERYWHERE)
                assert age_s >= 600
        case StepKind.PUBLISH:
            assert seen.new_key
        case StepKind.WITHDRAW:
            assert not seen.record_users
            if phase is Phase.SWITCHED or (phase is Phase.VISIBLE and cancelled):
                assert age_s >= TIMING.grace_s
            if phase is Phase.SWITCHED and not cancelled:
                assert seen.entry != OLD
        case StepKind.RETIRE:
            assert (phase, seen.visibility, seen.record_users) == (Phase.WITHDRAWN, EVERYWHERE, ())
        case StepKind.BEGIN:
            assert before.over
            assert age_s >= TIMING.interval_s
    if step.kind not in IDLE_STEPS and step.kind is not StepKind.BEGIN:
        after = advanced(before, step, seen, NOW_S + age_s)
        assert (after.old, after.new) == (OLD, NEW)
        assert msgspec.json.decode(msgspec.json.encode(after), type=Rotation) == after


def test_the_clock_that_is_set_back_starts_the_wait_anew() -> None:
    seen = Seen(OLD, new_key=True, visibility=EVERYWHERE)
    step = next_step(rotation(Phase.VISIBLE), seen, NOW_S - 1, TIMING)
    assert step.kind is StepKind.NOTE_VISIBLE
    assert advanced(rotation(Phase.VISIBLE), step, seen, NOW_S - 1).phase_since_s == NOW_S - 1


def test_the_wait_is_the_longest_ttl_that_was_seen() -> None:
    longer = Visibility((), (), 2, 7200)
    before = rotation(Phase.PUBLISHED)
    seen = Seen(OLD, new_key=True, visibility=longer)
    after = advanced(before, next_step(before, seen, NOW_S, TIMING), seen, NOW_S)
    assert (after.phase, after.wait_s) == (Phase.VISIBLE, 7200)
    short = Seen(OLD, new_key=True, visibility=EVERYWHERE)
    assert next_step(after, short, NOW_S + 7199, TIMING).due_s == NOW_S + 7200
    assert next_step(after, short, NOW_S + 7200, TIMING).kind is StepKind.SWITCH


@pytest.mark.parametrize("visibility", [BEHIND, SILENT, None])
def test_waiting_for_servers_for_a_day_is_a_problem(visibility: Visibility | None) -> None:
    before = rotation(Phase.PUBLISHED, told_s=NOW_S + STUCK_S)
    seen = Seen(OLD, new_key=True, visibility=visibility, dns_problem="no zone")
    assert next_step(before, seen, NOW_S + STUCK_S - 1, TIMING).kind is StepKind.WAIT
    step = next_step(before, seen, NOW_S + STUCK_S, TIMING)
    assert step.kind is StepKind.HELD
    assert step.text


@pytest.mark.parametrize(("phase", "kind"), [(Phase.PUBLISHED, "publish"), (Phase.WITHDRAWN, "withdraw")])
def test_dns_that_has_not_what_it_was_told_an_hour_ago_is_told_again(phase: Phase, kind: str) -> None:
    seen = Seen(OLD if phase is Phase.PUBLISHED else NEW, new_key=True, visibility=BEHIND)
    before = rotation(phase)
    assert next_step(before, seen, NOW_S + 3599, TIMING).kind is StepKind.WAIT
    step = next_step(before, seen, NOW_S + 3600, TIMING)
    assert step.kind == kind
    after = advanced(before, step, seen, NOW_S + 3600)
    assert (after.phase_since_s, after.told_s) == (NOW_S, NOW_S + 3600), "it is stuck since the first time"


@pytest.mark.parametrize(
    ("phase", "needed"),
    [(Phase.PLANNED, False), (Phase.PUBLISHED, False), (Phase.VISIBLE, True), (Phase.SWITCHED, True)],
)
def test_a_new_key_that_may_have_signed_is_needed_for_the_grace_time_after_it_was_cancelled(
    phase: Phase,
    needed: bool,  # noqa: FBT001
) -> None:
    before = rotation(phase, cancelled=True)
    assert needs_doomed_record(before, NOW_S + TIMING.grace_s - 1, TIMING) is needed
    assert not needs_doomed_record(before, NOW_S + TIMING.grace_s, TIMING)
    step = next_step(before, Seen(OLD), NOW_S, TIMING)
    assert (step.kind, step.due_s) == ((StepKind.WAIT, NOW_S + TIMING.grace_s) if needed else (StepKind.WITHDRAW, None))


def test_what_was_cancelled_does_not_begin_again_by_itself() -> None:
    before = rotation(Phase.RETIRED, cancelled=True)
    seen = Seen(OLD, key_made_s=NOW_S - 400 * 86_400)
    assert next_step(before, seen, NOW_S, TIMING).kind is StepKind.REST
    assert next_step(before, seen, NOW_S, TIMING, wanted=True).kind is StepKind.BEGIN
