"""actors/dkim/rotation/run.py when something is not as it should be: servers, records, keys, hands, disks.

Each test breaks one thing in the middle of a whole rotation, and looks at what is held back and how it goes on.
"""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from actors.adapters.rotation_files import only_run
from actors.dkim.rotation.plan import StepKind
from actors.dkim.rotation.ports import RotationError
from actors.dkim.rotation.state import Phase
from tests.actors.dkim.rotation.world import DAY_S, TWO, Place, records


def test_a_server_that_is_silent_holds_the_switch_back_and_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    place.until(Phase.VISIBLE)
    place.servers.silent = True
    place.go_on(3600)
    look = place.once()["one"]
    assert (look.step.kind, "ns2: does not answer" in look.step.text) == (StepKind.WAIT, True)
    place.go_on(2 * DAY_S)
    assert place.once()["one"].step.kind is StepKind.HELD
    place.servers.silent = False
    place.until(Phase.SWITCHED)


def test_nothing_begins_while_a_server_is_silent(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    place.servers.silent = True
    look = place.once()["one"]
    assert (look.rotation, look.step.kind) == (None, StepKind.HELD)
    assert "ns2: does not answer" in look.step.text


def test_a_record_that_goes_away_before_the_switch_starts_the_wait_anew_and_is_published_again(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    before = place.fragment.read_text()
    place.until(Phase.VISIBLE)
    place.fragment.write_text(before)
    place.go_on(600)
    look = place.once()["one"]
    assert StepKind.NOTE_LOST in look.done
    place.until(Phase.SWITCHED)


def test_a_new_key_that_is_lost_before_the_switch_is_made_and_published_again(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    place.until(Phase.VISIBLE)
    place.hands_on = True
    lost = tmp_path / "example.org.202610a.private"
    before = lost.read_bytes()
    lost.unlink()
    assert place.once()["one"].done[:2] == (StepKind.MAKE_KEY, StepKind.PUBLISH)
    assert lost.read_bytes() != before
    place.until(Phase.SWITCHED)


def test_a_new_key_that_is_lost_after_the_switch_is_a_problem_that_says_what_to_do(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    place.hands_on = True
    before = place.table.read_text()
    place.until(Phase.SWITCHED)
    (tmp_path / "example.org.202610a.private").unlink()
    look = place.once()["one"]
    assert look.step.kind is StepKind.HELD
    assert f"old:{tmp_path}/one.private and say --cancel" in look.step.text
    place.table.write_text(before)
    place.once(cancelled=["one"])
    place.until(Phase.RETIRED)
    assert place.named().keys() == {"old._domainkey.example.org"} == records(place.fragment.read_text()).keys()


def test_an_entry_that_is_changed_by_hand_stops_the_rotation_until_it_is_cancelled(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old", "other example.org:other")
    place.config = msgspec.structs.replace(place.config, names=("one",))
    place.until(Phase.VISIBLE)
    place.hands_on = True
    by_hand = place.table.read_text().replace(":old:", ":other:").replace("one.private", "other.private")
    place.table.write_text(by_hand)
    place.go_on(DAY_S)
    look = place.once()["one"]
    assert (look.step.kind, "--cancel" in look.step.text) == (StepKind.HELD, True)
    place.once(cancelled=["one"])
    place.until(Phase.RETIRED)
    assert place.table.read_text() == by_hand
    assert not (tmp_path / "example.org.202610a.private").exists()
    assert (tmp_path / "one.private").exists()


def test_what_is_switched_cannot_be_cancelled(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    with pytest.raises(RotationError, match="nothing to cancel"):
        place.once(cancelled=["one"])
    place.until(Phase.SWITCHED)
    with pytest.raises(RotationError, match="point it back first"):
        place.once(cancelled=["one"])


def test_what_is_cancelled_after_the_switch_stays_published_for_mail_that_the_new_key_has_signed(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, "one example.org:old")
    before = place.table.read_text()
    place.until(Phase.SWITCHED)
    place.go_on(6 * DAY_S)
    place.table.write_text(before)
    look = place.once(cancelled=["one"])["one"]
    assert (look.step.kind, look.step.due_s) == (StepKind.WAIT, place.clock.unix_s() + 7 * DAY_S)
    with pytest.raises(RotationError, match="is cancelled already"):
        place.once(cancelled=["one"])
    place.go_on(6 * DAY_S)
    assert place.once()["one"].done == ()
    assert (tmp_path / "example.org.202610a.private").exists()
    place.until(Phase.RETIRED)
    assert place.named().keys() == {"old._domainkey.example.org"} == records(place.fragment.read_text()).keys()
    assert [path.name for path in tmp_path.glob("*.private")] == ["one.private"]


def test_a_key_that_several_entries_share_goes_when_the_last_of_them_has_another(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old:shared.private", "two example.net:old:shared.private")
    place.config = msgspec.structs.replace(place.config, names=("one",))
    look = place.until(Phase.RETIRED)["one"]
    assert look.rotation is not None
    assert (tmp_path / "shared.private").exists()
    assert "old._domainkey.example.org" not in records(place.fragment.read_text())
    place.config = msgspec.structs.replace(place.config, names=("two",))
    place.until(Phase.RETIRED)
    assert not (tmp_path / "shared.private").exists()


def test_a_key_that_another_entry_reaches_by_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "two.private").symlink_to("one.private")
    place = Place(tmp_path, "one example.org:old", "two example.net:old")
    place.config = msgspec.structs.replace(place.config, names=("one",))
    place.until(Phase.RETIRED)
    assert (tmp_path / "two.private").exists()


def test_a_record_that_another_entry_names_in_another_case_stays(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old:shared.private", "two example.org:old:shared.private")
    place.table.write_text(place.table.read_text().replace("two\texample.org:old", "two\texample.org:Old"))
    place.hands_on = True  # Its records have names in one case.
    place.config = msgspec.structs.replace(place.config, names=("one",))
    place.until(Phase.SWITCHED)
    place.go_on(8 * DAY_S)
    look = place.once()["one"]
    assert (look.step.kind, "two signs with it" in look.step.text) == (StepKind.HELD, True)
    place.config = msgspec.structs.replace(place.config, names=("*",))
    place.until(Phase.RETIRED)
    assert "old._domainkey.example.org" not in records(place.fragment.read_text())


def test_an_entry_that_is_written_in_another_case_by_hand_is_the_same_entry(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    place.until(Phase.VISIBLE)
    place.hands_on = True
    place.table.write_text(place.table.read_text().replace(":old:", ":OLD:"))
    place.until(Phase.SWITCHED)
    place.table.write_text(place.table.read_text().replace(":202610a:", ":202610A:"))
    with pytest.raises(RotationError, match="point it back first"):
        place.once(cancelled=["one"])
    place.until(Phase.RETIRED)
    assert "old._domainkey.example.org" not in records(place.fragment.read_text())


def test_a_record_that_several_entries_share_stays_until_the_mail_of_the_last_has_arrived(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old:shared.private", "two example.org:old:shared.private")
    place.config = msgspec.structs.replace(place.config, names=("one",))
    place.until(Phase.SWITCHED)
    place.go_on(8 * DAY_S)
    look = place.once()["one"]
    assert (look.step.kind, "two signs with it" in look.step.text) == (StepKind.HELD, True)
    place.config = msgspec.structs.replace(place.config, names=("*",))
    looks = place.until(Phase.RETIRED)
    assert {look.rotation.new.selector for look in looks.values()} == {"202610a", "202610b"}


def test_a_key_that_cannot_be_read_or_a_state_that_is_broken_is_a_problem_of_words(tmp_path: Path) -> None:
    place = Place(tmp_path, *TWO)
    place.hands_on = True
    (tmp_path / "one.private").unlink()
    looks = place.once()
    assert looks["one"].step.kind is StepKind.HELD
    assert looks["two"].done
    (place.state / "two.json").write_text("{")
    with pytest.raises(RotationError, match=r"two\.json"):
        place.once()


def test_a_disk_that_is_full_stops_the_key_at_its_state_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "one example.org:old")
    real: Callable[..., int] = os.write

    def full(descriptor: int, content: bytes) -> int:
        if b"BEGIN PRIVATE KEY" in content:
            raise OSError(28, "No space left on device")
        return real(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        look = place.once()["one"]
    assert (look.step.kind, look.rotation.phase) == (StepKind.HELD, Phase.PLANNED)
    assert [line["event"] for line in place.audit()][-1] == "failed"
    place.until(Phase.RETIRED)


def test_a_table_that_somebody_saves_while_it_is_switched_keeps_what_he_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "one example.org:old")
    place.until(Phase.VISIBLE)
    place.go_on(3600)
    place.servers.transfer()
    saved = place.table.read_text() + "# by hand\n"

    def saves(_descriptor: int) -> None:
        if (tmp_path / ".KeyTable.new").exists():
            place.table.write_text(saved)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", saves)
        look = place.once()["one"]
    assert (look.step.kind, "just changed it" in look.step.text) == (StepKind.HELD, True)
    assert place.table.read_text() == saved
    place.until(Phase.SWITCHED)
    assert place.table.read_text().endswith("# by hand\n")


def test_two_runs_do_not_work_at_the_same_time(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    with only_run(place.state), pytest.raises(RotationError, match=str(os.getpid())):
        place.once()
    place.once()
