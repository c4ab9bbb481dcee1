"""A world to rotate keys in: real files, a clock that is moved, two name servers of which one lags, death at any call.

Whoever kills here kills between two calls to the system: the exception is no Exception, so nobody cleans up after it,
and the next run finds what a killed process leaves. After every call the promises of actors/dkim/rotation/plan.py are
looked at.
"""

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from actors.adapters.rotation_files import AuditLog, KeyTableFile, PrivateKeyFiles, StateFiles, only_run
from actors.adapters.zone_fragment import ZoneFragments
from actors.dkim.key import KeyRecordError, parse_key
from actors.dkim.rotation.config import RotationConfig
from actors.dkim.rotation.plan import StepKind
from actors.dkim.rotation.run import Look, Rotator, World
from actors.dkim.rotation.state import Phase, Rotation, record_name
from actors.dkim.rotation.visibility import Answers, ServerAnswer
from actors.dkim.signing.private_key import generate_ed25519, load_private_key
from actors.dkim.signing.publication import PublishedKey, key_record, zone_lines
from actors.dkim.signing.tables import Entry, parse_entries, parse_key_entry
from tests.fakes import FakeClock

TTL_S = 600
NEGATIVE_TTL_S = 1800
LAG_S = 3000
BEGUN_S = 1_792_000_000.0
"""In October 2026."""
DAY_S = 86_400
TWO = ("one example.org:old", "two example.net:old")
_STRINGS = re.compile(r'"([^"]*)"')
_CALLS = ("open", "write", "fsync", "fchmod", "fchown", "rename", "unlink")
"""Of opening only what makes a file."""


class Killed(BaseException):
    """SIGKILL."""


class Servers:
    """NameServers: the first has the fragment of now, the second that of its last transfer."""

    def __init__(self, fragment: Path) -> None:
        self._fragment = fragment
        self._second = ""
        self.silent = False
        self.wildcard = ""
        self.asked: list[str] = []

    def transfer(self) -> None:
        self._second = self._first()

    def _first(self) -> str:
        return self._fragment.read_text() if self._fragment.exists() else ""

    def zones(self) -> list[dict[str, bytes]]:
        return [records(self._first()), records(self._second)]

    async def ask(self, name: str) -> Answers:
        self.asked.append(name)
        made_up = {name: self.wildcard.encode()} if self.wildcard else {}
        found = [tuple(b for b in [(made_up | zone).get(name)] if b) for zone in self.zones()]
        answers = [ServerAnswer(f"ns{number}", each, TTL_S * bool(each)) for number, each in enumerate(found, start=1)]
        if self.silent:
            answers[1] = ServerAnswer("ns2", silence="does not answer")
        return Answers(tuple(answers), NEGATIVE_TTL_S)


def records(fragment: str) -> dict[str, bytes]:
    """What a fragment publishes."""
    lines = [line for line in fragment.splitlines() if line and line[0] not in "; \t"]
    return {line.split()[0].rstrip("."): "".join(_STRINGS.findall(line)).encode() for line in lines}


class Place:
    """One directory with a KeyTable, its keys and everything that rotation keeps."""

    def __init__(self, directory: Path, *entries: str, **settings: object) -> None:
        """`entries` are NAME DOMAIN:SELECTOR[:FILE]; their keys are made and published."""
        self.directory = directory
        self.table = directory / "KeyTable"
        self.fragment = directory / "zone"
        self.state = directory / "state"
        self.clock = FakeClock(BEGUN_S)
        self.servers = Servers(self.fragment)
        self.config = RotationConfig(
            publish="zone-file", zone_file=str(self.fragment), state_directory=str(self.state), ttl_s=TTL_S, **settings
        )
        lines, published = ["# our keys"], []
        for entry in entries:
            name, value = entry.split()
            domain, selector, file = (*value.split(":"), f"{name}.private")[:3]
            path = directory / file
            if not path.exists():
                path.write_bytes(generate_ed25519().pem())
                path.chmod(0o600)
                os.utime(path, (BEGUN_S - 200 * DAY_S,) * 2)
            lines.append(f"{name}\t{domain}:{selector}:{path}   # kept")
            published.append(PublishedKey(domain, selector, key_record(load_private_key(path.read_bytes()))))
        self.table.write_text("\n".join(lines) + "\n")
        self.fragment.write_text("; by hand\n" + "\n".join(zone_lines(published, TTL_S)) + "\n")
        self.servers.transfer()
        self.hands_on = False
        self._visible_since_s: dict[str, float] = {}
        self._named_until_s: dict[str, float] = {}
        self._named: set[str] = set()
        self._everywhere: set[str] = set()
        self.watch()

    def once(self, wanted: Sequence[str] = (), cancelled: Sequence[str] = ()) -> dict[str, Look]:
        """One run."""

        async def run() -> list[Look]:
            rotator = self.rotator()
            for name in cancelled:
                await rotator.cancel(name)
            return await rotator.run(await rotator.names(), wanted)

        with only_run(self.state):
            looks = {look.name: look for look in asyncio.run(run())}
        self.watch()
        return looks

    def rotator(self) -> Rotator:
        keys = PrivateKeyFiles()
        states, audit = StateFiles(self.state), AuditLog(self.state / "audit", "tester", self.clock)
        publisher = ZoneFragments(self.config.zone_file, self.config.ttl_s)
        world = World(KeyTableFile(self.table), keys, states, self.servers, publisher, audit, self.clock)
        return Rotator(world, self.config)

    def go_on(self, seconds: float) -> None:
        """Time passes; the second server transfers the zone now and then."""
        self.watch()
        before_s = self.clock.unix_s()
        self.clock.advance(seconds)
        if before_s // LAG_S != self.clock.unix_s() // LAG_S:
            self.servers.transfer()
        self.watch()

    def until(self, phase: Phase, **run: Sequence[str]) -> dict[str, Look]:
        """Runs every ten minutes (every six hours in the long times) until all rotations are there."""
        for _ in range(200):
            looks = self.once(**run)
            run = {}
            if all(look.rotation is not None and look.rotation.phase is phase for look in looks.values()):
                return looks
            long = (Phase.SWITCHED, Phase.RETIRED)
            rotations = [look.rotation for look in looks.values()]
            graces = all(one is not None and (one.phase in long or one.cancelled) for one in rotations)
            self.go_on(6 * 3600 if graces else 900)
        raise AssertionError({name: look.step for name, look in looks.items()})

    def entries(self) -> list[Entry]:
        return parse_entries(self.table.read_text(), "KeyTable")

    def named(self) -> dict[str, str]:
        """Record names that the KeyTable uses, and the files of their keys."""
        requests = [parse_key_entry(entry) for entry in self.entries()]
        return {record_name(request.domain, request.selector): request.key for request in requests}

    def rotation(self, name: str) -> Rotation | None:
        return StateFiles(self.state).load(name)

    def audit(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self.state / "audit").read_text().splitlines()]

    def watch(self) -> None:
        """The promises, at this very moment; who breaks them by hand says so."""
        if self.hands_on:
            return
        now_s, zones = self.clock.unix_s(), self.servers.zones()
        self._watch_the_table(now_s, zones)
        self._watch_the_keys(now_s, zones)

    def _watch_the_table(self, now_s: float, zones: Sequence[dict[str, bytes]]) -> None:
        everywhere = {name for name in zones[0] if zones[0][name] == zones[1].get(name) and is_key(zones[0][name])}
        self._visible_since_s |= dict.fromkeys(everywhere - self._everywhere, now_s)
        self._everywhere = everywhere
        named = self.named()
        for name, path in named.items():
            key = load_private_key(Path(path).read_bytes())
            for zone in zones:
                assert key.matches(parse_key(zone[name])), "the KeyTable names a key that is not published everywhere"
        for name in named.keys() - self._named if self._named else ():
            waited_s = now_s - self._visible_since_s[name]
            assert waited_s >= max(TTL_S, NEGATIVE_TTL_S), "resolvers may remember that there was no such record"
        self._named_until_s |= dict.fromkeys(self._named - named.keys(), now_s)
        self._named = set(named)

    def _watch_the_keys(self, now_s: float, zones: Sequence[dict[str, bytes]]) -> None:
        keys = {load_private_key(path.read_bytes()).public_base64 for path in self.directory.rglob("*.private")}
        for name, record in (pair for zone in zones for pair in zone.items()):
            if is_key(record):
                assert record.rpartition(b"p=")[2].decode() in keys, f"{name} is published without a private key"
        for name, until_s in self._named_until_s.items():
            if name not in zones[0] or not is_key(zones[0][name]):
                assert now_s - until_s >= self.config.timing.grace_s, f"{name} went while mail was on its way"


def is_key(record: bytes) -> bool:
    try:
        parse_key(record)
    except KeyRecordError:
        return False
    return True


@contextmanager
def deadly(place: Place, at: Sequence[int], monkeypatch: object) -> Iterator[list[str]]:
    """Dies at the calls of these numbers, once each; a write is cut in its middle. Gives the calls that were made."""
    calls: list[str] = []
    deaths = set(at)

    def watched(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **more: object) -> object:
            if name == "open" and not words[1] & os.O_CREAT:  # type: ignore[operator]
                return real(*words, **more)
            calls.append(name)
            if len(calls) in deaths:
                if name == "write":
                    real(words[0], words[1][: len(words[1]) // 2])  # type: ignore[index,arg-type]
                raise Killed
            result = None if name == "fsync" else real(*words, **more)
            busy.append(name)
            if len(busy) == 1 and name in ("rename", "unlink"):
                place.watch()
            busy.pop()
            return result

        return call

    busy: list[str] = []
    with monkeypatch.context() as patch:  # type: ignore[attr-defined]
        for name in _CALLS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield calls


__all__ = ["BEGUN_S", "DAY_S", "LAG_S", "Killed", "Phase", "Place", "StepKind", "deadly", "records"]
