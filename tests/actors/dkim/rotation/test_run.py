"""actors/dkim/rotation/run.py: whole rotations with real files, killed at every call to the system and healed."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.adapters.rotation_files import PrivateKeyFiles
from actors.dkim.rotation.plan import StepKind
from actors.dkim.rotation.state import Phase
from actors.dkim.signing.private_key import generate_ed25519, generate_rsa, load_private_key
from actors.dkim.signing.publication import key_record
from tests.actors.dkim.rotation.world import BEGUN_S, DAY_S, TWO, Killed, Place, deadly, records


def test_a_rotation_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    place = Place(tmp_path, *TWO)
    old = place.named()
    first = place.once()
    assert [look.done for look in first.values()] == [(StepKind.BEGIN, StepKind.MAKE_KEY, StepKind.PUBLISH)] * 2
    assert "ns2: no record" in first["one"].step.text
    place.until(Phase.SWITCHED)
    assert place.named().keys() == {"202610a._domainkey.example.org", "202610a._domainkey.example.net"}
    assert place.table.read_text().splitlines()[1] == (
        f"one\texample.org:202610a:{tmp_path}/example.org.202610a.private   # kept"
    )
    assert all(Path(path).exists() for path in old.values())
    place.until(Phase.RETIRED)
    assert records(place.fragment.read_text()).keys() == place.named().keys()
    assert place.fragment.read_text().startswith("; by hand\n")
    assert not any(Path(path).exists() for path in old.values())
    assert [look.step.kind for look in place.once().values()] == [StepKind.REST] * 2


def test_the_audit_log_tells_each_step_once_with_who_and_when_and_no_key(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    place.until(Phase.RETIRED)
    lines = place.audit()
    assert [line["step"] for line in lines if line["event"] == "done"] == [
        "begin",
        "make key",
        "publish",
        "visible",
        "switch",
        "withdraw",
        "retire",
    ]
    assert {line["user"] for line in lines} == {"tester"}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    (key,) = tmp_path.glob("*.private")
    secret = key.read_text().splitlines()[1]
    kept = [path.read_text() for path in place.state.iterdir()]
    assert not any(secret in text for text in kept)


def test_new_keys_have_mode_and_owner_of_the_old_ones_and_the_table_keeps_its_own(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    (tmp_path / "one.private").chmod(0o640)
    place.table.chmod(0o604)
    place.until(Phase.SWITCHED)
    assert stat.S_IMODE((tmp_path / "example.org.202610a.private").stat().st_mode) == 0o640
    assert stat.S_IMODE(place.table.stat().st_mode) == 0o604


@pytest.mark.parametrize(
    ("old", "safe", "new"),
    [
        (0o600, True, 0o600),
        (0o660, True, 0o640),
        (0o400, True, 0o400),
        (0o666, True, 0o640),
        (0o666, False, 0o644),
        (None, True, 0o600),
        (None, False, 0o600),
    ],
)
def test_nobody_but_its_owner_may_write_a_new_key_and_others_read_it_only_where_that_is_asked_for(
    old: int | None,
    safe: bool,  # noqa: FBT001
    new: int,
    tmp_path: Path,
) -> None:
    if old is not None:
        (tmp_path / "old").write_bytes(b"")
        (tmp_path / "old").chmod(old)
    keys = PrivateKeyFiles(require_safe=safe)
    keys.create(str(tmp_path / "new"), generate_ed25519(), str(tmp_path / "old"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == new
    assert keys.load(str(tmp_path / "new")) is not None


def calls_of_a_rotation(place: Place, monkeypatch: pytest.MonkeyPatch) -> int:
    with deadly(place, (), monkeypatch) as calls:
        place.until(Phase.RETIRED)
    return len(calls)


def dies_and_heals(place: Place, deaths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    old = place.named()
    with deadly(place, deaths, monkeypatch):
        for _ in range(len(deaths) + 1):
            try:
                place.until(Phase.RETIRED)
                break
            except Killed:
                place.go_on(600)
    assert place.named().keys() == {name.replace("old", "202610a") for name in old}
    assert records(place.fragment.read_text()).keys() == place.named().keys()
    assert {str(path) for path in place.directory.glob("*.private")} == set(place.named().values())
    assert not list(place.directory.glob(".*")), "what a killed run began is left behind"
    assert [look.step.kind for look in place.once().values()] == [StepKind.REST] * len(old)


def test_killed_at_any_call_to_the_system_the_next_runs_bring_it_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0").mkdir()
    total = calls_of_a_rotation(Place(tmp_path / "0", "one example.org:old", grace_days=1), monkeypatch)
    assert total > 100
    for death in range(1, total + 1):
        (tmp_path / str(death)).mkdir()
        place = Place(tmp_path / str(death), "one example.org:old", grace_days=1)
        dies_and_heals(place, [death], monkeypatch)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.integers(1, 300), min_size=2, max_size=12, unique=True))
def test_killed_again_and_again_with_two_keys_it_ends_the_same(
    deaths: list[int], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path_factory.mktemp("place"), *TWO, grace_days=1)
    dies_and_heals(place, deaths, monkeypatch)


def test_a_key_that_was_being_written_when_its_run_was_killed_goes_with_its_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "one example.org:old")
    with deadly(place, (), monkeypatch) as calls:
        place.once()
    writes = [number for number, name in enumerate(calls, start=1) if name == "write"]
    place = Place(made(tmp_path / "again"), "one example.org:old")
    with deadly(place, [writes[3]], monkeypatch), pytest.raises(Killed):
        place.once()
    assert [path.name for path in place.directory.glob(".*")] == [".example.org.202610a.private.new"]
    place.once(cancelled=["one"])
    place.until(Phase.RETIRED)
    assert not list(place.directory.glob(".*"))


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_two_fixed_names_take_turns_and_a_revoked_record_is_taken_again(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:a", selectors=("a", "b"), retire="revoke")
    place.until(Phase.RETIRED)
    assert place.named().keys() == {"b._domainkey.example.org"}
    assert records(place.fragment.read_text())["a._domainkey.example.org"] == b"v=DKIM1; p="
    place.go_on(180 * DAY_S)
    place.until(Phase.SWITCHED)
    assert place.named().keys() == {"a._domainkey.example.org"}
    place.until(Phase.RETIRED)
    assert records(place.fragment.read_text())["b._domainkey.example.org"] == b"v=DKIM1; p="


def test_selectors_of_others_in_dns_are_left_alone_and_a_wildcard_is_nobody(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old")
    foreign = key_record(generate_ed25519())
    with place.fragment.open("a") as file:
        file.write(f'202610a._domainkey.example.org. IN TXT "{foreign}"\n')
    (tmp_path / "foreign.private").write_bytes(generate_ed25519().pem())
    rotation = asyncio.run(begun(place))
    assert rotation.step.text.partition(": ")[2].startswith("202610b")
    place.servers.wildcard = foreign
    rotation = asyncio.run(begun(place))
    assert rotation.step.text.partition(": ")[2].startswith("202610a, "), "what the wildcard says, too, is nobody's"


async def begun(place: Place) -> object:
    (look,) = await place.rotator().rehearse(["one"])
    return look


def test_a_rehearsal_changes_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, *TWO)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    looks = asyncio.run(place.rotator().rehearse(["one", "two"]))
    assert [look.step.kind for look in looks] == [StepKind.BEGIN] * 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rsa_and_ed25519_keys_of_one_domain_keep_their_kinds_and_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "r.private").write_bytes(generate_rsa(2048).pem())
    (tmp_path / "r.private").chmod(0o600)
    os.utime(tmp_path / "r.private", (BEGUN_S - 200 * DAY_S,) * 2)
    place = Place(tmp_path, "r example.org:r", "e example.org:e", selectors=("{type}-{year}",))
    place.until(Phase.SWITCHED)
    kinds = {name: load_private_key(Path(path).read_bytes()).key_type for name, path in place.named().items()}
    assert kinds == {"rsa-2026._domainkey.example.org": "rsa", "ed25519-2026._domainkey.example.org": "ed25519"}


def test_no_more_than_begin_max_begin_in_one_run_and_now_is_not_counted(tmp_path: Path) -> None:
    place = Place(tmp_path, *(f"n{number} d{number}.example:old" for number in range(5)), begin_max=2)
    looks = place.once(wanted=["n4"])
    assert [name for name, look in looks.items() if look.done] == ["n0", "n1", "n4"]
    assert looks["n2"].step.kind is StepKind.WAIT


def test_a_key_that_is_not_due_begins_when_it_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path, "one example.org:old", interval_days=0)
    assert place.once()["one"].step.kind is StepKind.REST
    assert place.once(wanted=["ONE"])["one"].done[0] is StepKind.BEGIN
    assert place.once(wanted=["one"])["one"].done == (), "it is under way"


def test_the_state_is_readable_json_under_the_name_of_the_entry(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    place = Place(tmp_path, "a/b@example.org example.org:old")
    place.once()
    assert json.loads((place.state / "a%2Fb@example.org.json").read_text())["phase"] == "published"
