"""cli/dkim_rotate.py: what the operator says and is told; DNS is two name servers of which one lags."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import actors.adapters.authority
import actors.adapters.clock
from actors.adapters.rotation_files import only_run
from actors.dkim.rotation.state import Phase
from tests.actors.dkim.rotation.world import BEGUN_S, DAY_S, Place
from tests.cli.test_dkim import Result, dkim

AT = datetime.fromtimestamp(BEGUN_S, UTC).isoformat()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path, "one example.org:old", "two example.net:old")
    monkeypatch.setattr(actors.adapters.authority, "AuthoritativeServers", lambda *_: made.servers)
    monkeypatch.setattr(actors.adapters.clock, "SystemClock", lambda: made.clock)
    write(made)
    return made


def write(place: Place, more: str = "") -> None:
    (place.directory / "tamis.toml").write_text(
        f'[dkim.signing]\nkey_table = "file:{place.table}"\nsigning_table = "example.org=one"\n'
        f'[dkim.rotation]\npublish = "zone-file"\nzone_file = "{place.fragment}"\nttl_s = 600\n'
        f'state_directory = "{place.state}"\n{more}'
    )


def rotate(place: Place, *words: str) -> Result:
    return dkim("rotate", *words, "--config", place.directory / "tamis.toml")


def test_a_run_says_what_it_did_and_what_it_waits_for_and_then_rests(place: Place) -> None:
    first = rotate(place)
    assert first.exit_code in (0, None)
    assert first.stdout.decode().splitlines()[0] == (
        "one: begin, make key, publish, wait: 202610a._domainkey.example.org: 1 of 2 servers are there; ns2: no record"
    )
    place.until(Phase.RETIRED)
    assert rotate(place).stdout == b""


def test_status_shows_phase_selectors_and_what_is_next_to_people_and_machines(place: Place) -> None:
    rotate(place, "--now", "two")
    shown = rotate(place, "status").stdout.decode()
    assert all(word in shown for word in ("published", "202610a", "example.net", "ns2: no record"))
    rows = rotate(place, "status", "--json").rows
    assert [row["name"] for row in rows] == ["one", "two"]
    assert rows[0]["phase"] == "published"
    assert rows[0]["behind"] == ["ns2: no record"]
    assert rows[0]["new"] == {"selector": "202610a", "key": f"{place.directory}/example.org.202610a.private"}


def test_a_dry_run_says_what_would_be_chosen_and_changes_nothing(place: Place) -> None:
    before = {path: path.read_bytes() for path in place.directory.iterdir()}
    result = rotate(place, "--dry-run", "--at", AT)
    assert f"one: begin: is due: 202610a, {place.directory}/example.org.202610a.private\n" in result.stdout.decode()
    assert {path: path.read_bytes() for path in place.directory.iterdir()} == before


def test_what_needs_a_person_is_told_on_stderr_with_exit_code_1(place: Place) -> None:
    place.hands_on = True
    (place.directory / "one.private").unlink()
    result = rotate(place)
    assert result.exit_code == 1
    assert "one: held: the private key" in result.stderr
    assert b"two: begin" in result.stdout
    assert rotate(place, "status").exit_code == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--now", "three"), "--now three: is not in the KeyTable"),
        (("--wait", "--dry-run"), "--wait goes with neither"),
        (("status", "--wait"), "--wait goes with neither"),
        (("--at", "noon"), "--at noon: not an ISO 8601 time"),
        (("--at", "message"), "--at message: not an ISO 8601 time"),
        (("status", "--cancel", "one"), "--cancel changes something"),
    ],
)
def test_options_that_allow_nothing_exit_with_2(words: tuple[str, ...], text: str, place: Place) -> None:
    result = rotate(place, *words)
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_configuration_that_says_too_little_exits_with_2(place: Place) -> None:
    result = dkim("rotate")
    assert result.exit_code == 2
    assert "[dkim.rotation] publish is empty" in result.stderr
    text = (place.directory / "tamis.toml").read_text()
    (place.directory / "tamis.toml").write_text(text.replace(f"file:{place.table}", "one=example.org:s:/k"))
    assert "only those are rotated" in rotate(place).stderr


def test_another_run_at_work_is_told_with_exit_code_1(place: Place) -> None:
    with only_run(place.state):
        result = rotate(place)
    assert result.exit_code == 1
    assert "another run is at work" in result.stderr


def test_cancel_gives_the_new_key_up_and_the_run_goes_on(place: Place) -> None:
    rotate(place)
    result = rotate(place, "--cancel", "one")
    assert b"one: withdraw" in result.stdout
    assert rotate(place, "--cancel", "one").exit_code == 1
    place.until(Phase.RETIRED)
    assert "old._domainkey.example.org" in place.named()


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_wait_goes_on_until_nothing_is_under_way_and_takes_the_lock_only_to_work(
    words: tuple[str, ...], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    async def later(seconds: float) -> None:
        pauses.append(seconds)
        with only_run(place.state):
            place.go_on(DAY_S / 4 if len(pauses) > 20 else 600)

    monkeypatch.setattr(asyncio, "sleep", later)
    result = rotate(place, "--wait", *words)
    assert result.exit_code in (0, None)
    assert place.named().keys() == {"202610a._domainkey.example.org", "202610a._domainkey.example.net"}
    assert [path.name for path in place.directory.glob("*old*")] == []
    assert {rotation.phase for rotation in map(place.rotation, ("one", "two"))} == {Phase.RETIRED}
    assert 0 < min(pauses) <= max(pauses) <= 30
    if words:
        assert [json.loads(line)["phase"] for line in result.stdout.splitlines()][-2:] == ["retired", "retired"]
    else:
        assert b"over: 2 of 2" in result.stdout


def test_a_record_and_a_key_that_seal_key_signs_with_stay(place: Place) -> None:
    path = place.directory / "one.private"
    config = place.directory / "tamis.toml"
    config.write_text(
        config.read_text().replace("[dkim.rotation]", f'seal_key = "example.org:old:{path}"\n[dkim.rotation]')
    )
    place.until(Phase.SWITCHED)
    place.go_on(8 * DAY_S)
    result = rotate(place)
    assert result.exit_code == 1
    assert "one: held: old._domainkey.example.org stays as long as seal_key signs with it" in result.stderr
    assert "old._domainkey.example.org" in place.fragment.read_text()
    assert path.exists()


def test_entries_that_cannot_be_rotated_are_named_in_the_status(place: Place) -> None:
    with place.table.open("a") as table:
        table.write("any %:old:/keys/%\n")
    assert "any: left out: is for the author's domain, whichever it is" in rotate(place, "status").stderr
