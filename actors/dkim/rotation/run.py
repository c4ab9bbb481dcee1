"""Does what is due: looks at the world, asks plan.py for the step, does it, keeps the state, and so on.

What a step is about to do is told to the audit log before, its end after; the state is kept in between. Several keys
go on at the same time, so that one silent name server does not hold up the others; what reads and then changes a file
does so without a pause, and new selectors are chosen one after the other.
"""

import asyncio
import os.path
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from actors.dkim.rotation.config import RotationConfig
from actors.dkim.rotation.key_table import KeyTableView, TableEntry
from actors.dkim.rotation.plan import IDLE_STEPS, Seen, Step, StepKind, advanced, needs_doomed_record, next_step
from actors.dkim.rotation.ports import (
    Audit,
    KeyTable,
    NameServers,
    PrivateKeys,
    Publisher,
    RotationError,
    States,
)
from actors.dkim.rotation.selectors import candidates
from actors.dkim.rotation.state import KeyPlace, Phase, Rotation, record_name
from actors.dkim.rotation.visibility import Visibility, has_key, published, withdrawn
from actors.dkim.signing.private_key import PrivateKeyError, generate_ed25519, generate_rsa
from actors.dkim.signing.publication import REVOKED_RECORD, key_record
from actors.dkim.signing.tables import TableError, matches
from actors.ports import Clock, LookupFailed

_TOGETHER = 16
"""Keys that are worked on at the same time."""
_STEPS_MAX = 12
"""Of one key in one run: from its beginning to its end there are eight."""
_CANDIDATES_MAX = 64
_FAILURES = (RotationError, TableError, PrivateKeyError, LookupFailed, OSError)


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside."""

    table: KeyTable
    keys: PrivateKeys
    states: States
    servers: NameServers
    publisher: Publisher
    audit: Audit
    clock: Clock


@dataclass(frozen=True, slots=True)
class Look:
    """How one key stands."""

    name: str
    domain: str
    rotation: Rotation | None
    seen: Seen
    step: Step
    """What is next; after a run: what is waited for."""
    done: tuple[StepKind, ...] = ()
    """What this run did."""


@dataclass
class Rotator:
    """One run; its counters begin anew with each."""

    world: World
    config: RotationConfig
    _begun_count: int = 0
    _choosing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def names(self) -> list[str]:
        """The entries that are rotated, and those that are not there any more but not yet over. Raises TableError."""
        view = await self.world.table.view()
        listed = [entry.name for entry in view.entries if self._is_ours(entry.name)]
        known = {name.lower() for name in listed}
        return listed + [r.name for r in self.world.states.all() if not r.over and r.name.lower() not in known]

    def _is_ours(self, name: str) -> bool:
        return any(matches(pattern.lower(), name.lower()) for pattern in self.config.names)

    async def look(self, name: str, *, wanted: bool = False) -> Look:
        """How a key stands and what is next. Raises what the ports raise."""
        rotation = self.world.states.load(name)
        seen = await self._seen(name, rotation)
        step = next_step(rotation, seen, self.world.clock.unix_s(), self.config.timing, wanted=wanted)
        entry = (await self.world.table.view()).entry(name)
        domain = entry.domain if entry else rotation.domain if rotation else ""
        return Look(name, domain, rotation, seen, step)

    async def run(self, names: Sequence[str], wanted: Sequence[str] = ()) -> list[Look]:
        """Do what is due for these keys; those in `wanted` begin now. Every failure is in the Look of its key."""
        return await self._each(names, wanted, self._advance)

    async def rehearse(self, names: Sequence[str], wanted: Sequence[str] = ()) -> list[Look]:
        """What `run` would do first, with what a new rotation would choose. Changes nothing."""
        return await self._each(names, wanted, self._foresee)

    async def _each(
        self,
        names: Sequence[str],
        wanted: Sequence[str],
        work: Callable[[str, bool, list[StepKind]], AsyncIterator[Look]],
    ) -> list[Look]:
        slots = asyncio.Semaphore(_TOGETHER)
        beginning = {name.lower() for name in wanted}

        async def one(name: str) -> Look:
            done: list[StepKind] = []
            look = Look(name, "", None, Seen(None), Step(StepKind.HELD))
            async with slots:
                try:
                    async for seen in work(name, name.lower() in beginning, done):
                        look = seen
                except _FAILURES as error:
                    # The look may be of before the step that failed.
                    look = replace(look, step=Step(StepKind.HELD, _text(error)))
            return replace(look, done=tuple(done))

        return list(await asyncio.gather(*(one(name) for name in names)))

    async def _advance(self, name: str, wanted: bool, done: list[StepKind]) -> AsyncIterator[Look]:  # noqa: FBT001
        for _ in range(_STEPS_MAX):
            look = await self.look(name, wanted=wanted)
            if look.step.kind is StepKind.BEGIN and not wanted and not self._may_begin():
                look = replace(look, step=Step(StepKind.WAIT, f"is due, after {self.config.begin_max} others"))
            yield look
            if look.step.kind in IDLE_STEPS:
                return
            await self._do(look)
            wanted = wanted and look.step.kind is not StepKind.BEGIN
            done.append(look.step.kind)

    async def _foresee(self, name: str, wanted: bool, _done: list[StepKind]) -> AsyncIterator[Look]:  # noqa: FBT001
        look = await self.look(name, wanted=wanted)
        yield look
        if look.step.kind is StepKind.BEGIN:
            new = (await self._begun(look)).new
            yield replace(look, step=Step(StepKind.BEGIN, f"{look.step.text}: {new.selector}, {new.key}"))

    def _may_begin(self) -> bool:
        self._begun_count += 1
        return self._begun_count <= self.config.begin_max

    async def cancel(self, name: str) -> Rotation:
        """Give the new key up, as long as the KeyTable does not name it. Raises RotationError."""
        rotation = self.world.states.load(name)
        if rotation is None or rotation.over or rotation.phase is Phase.WITHDRAWN:
            raise RotationError(f"{name}: there is nothing to cancel")
        if rotation.cancelled:
            raise RotationError(f"{name}: is cancelled already")
        entry = (await self.world.table.view()).entry(name)
        if entry is not None and entry.place.is_same(rotation.new):
            raise RotationError(f"{name}: the KeyTable names the new key already: point it back first")
        cancelled = msgspec.structs.replace(rotation, cancelled=True, phase_since_s=self.world.clock.unix_s())
        self.world.states.save(cancelled)
        self.world.audit.tell("done", cancelled, "cancel")
        return cancelled

    async def _seen(self, name: str, rotation: Rotation | None) -> Seen:
        view = await self.world.table.view()
        entry = view.entry(name)
        if rotation is None or rotation.over:
            made_s = self.world.keys.made_s(entry.place.key) if entry else None
            return Seen(entry.place if entry else None, key_made_s=made_s)
        domain, doomed = rotation.domain, rotation.doomed
        place = rotation.known(entry.place) if entry and entry.domain == domain else None
        new_key = self.world.keys.load(rotation.new.key)
        visibility, problem = None, ""
        try:
            if rotation.phase is Phase.WITHDRAWN:
                answers = await self.world.servers.ask(record_name(domain, doomed.selector))
                visibility = withdrawn(answers, self.world.keys.load(doomed.key))
            elif new_key and rotation.phase in (Phase.PUBLISHED, Phase.VISIBLE) and not rotation.cancelled:
                answers = await self.world.servers.ask(record_name(domain, rotation.new.selector))
                visibility = published(answers, new_key)
        except LookupFailed as error:
            problem = str(error)
        return Seen(
            place,
            new_key=new_key is not None,
            visibility=visibility,
            dns_problem=problem,
            record_users=self._record_users(view, rotation),
            key_users=view.users_of_key(domain, doomed.key),
        )

    def _record_users(self, view: KeyTableView, rotation: Rotation) -> list[str]:
        """Entries that sign with the doomed record, and others whose mail that was signed with it is on its way."""
        domain, doomed = rotation.domain, rotation.doomed
        users = view.users_of_record(domain, doomed.selector)
        if rotation.phase is Phase.SWITCHED or rotation.cancelled:
            now_s = self.world.clock.unix_s()
            users += [
                other.name
                for other in self.world.states.all()
                if (other.domain, other.doomed.selector.lower()) == (domain, doomed.selector.lower())
                and other.name != rotation.name
                and needs_doomed_record(other, now_s, self.config.timing)
            ]
        return users

    async def _do(self, look: Look) -> None:
        """Do the step of this look and keep the state after it."""
        if look.step.kind is StepKind.BEGIN:
            async with self._choosing:
                rotation = await self._begun(look)
                self.world.states.save(rotation)
            self.world.audit.tell("done", rotation, look.step.kind, look.step.text)
            return
        if look.rotation is None:
            raise RotationError(f"{look.name}: there is no rotation to go on with")
        await self._go_on(look.rotation, look)

    async def _go_on(self, rotation: Rotation, look: Look) -> None:
        self.world.audit.tell("begin", rotation, look.step.kind, look.step.text)
        try:
            told = await self._change(rotation, look)
        except _FAILURES as error:
            self.world.audit.tell("failed", rotation, look.step.kind, _text(error))
            raise
        after = advanced(rotation, look.step, look.seen, self.world.clock.unix_s())
        self.world.states.save(after)
        self.world.audit.tell("done", after, look.step.kind, told)

    async def _change(self, rotation: Rotation, look: Look) -> str:
        """What the step changes outside of the state; gives what the audit log is to keep of it."""
        world, domain = self.world, rotation.domain
        match look.step.kind:
            case StepKind.MAKE_KEY:
                key = generate_ed25519() if rotation.key_type == "ed25519" else generate_rsa(self.config.rsa_bits)
                world.keys.create(rotation.new.key, key, rotation.old.key)
            case StepKind.PUBLISH:
                new_key = world.keys.load(rotation.new.key)
                if new_key is None:
                    raise RotationError(f"{rotation.new.key}: the private key is gone: run it again")
                return await world.publisher.publish(
                    domain, record_name(domain, rotation.new.selector), key_record(new_key)
                )
            case StepKind.SWITCH:
                await world.table.point(rotation.name, rotation.old, rotation.new)
            case StepKind.WITHDRAW:
                name = record_name(domain, rotation.doomed.selector)
                if self.config.retire == "revoke" and not rotation.cancelled:
                    return await world.publisher.revoke(domain, name, REVOKED_RECORD)
                return await world.publisher.remove(domain, name)
            case StepKind.RETIRE if not look.seen.key_users:
                world.keys.delete(rotation.doomed.key)
        return ""

    async def _begun(self, look: Look) -> Rotation:
        """A new rotation with a selector and a file that nobody has. Raises RotationError and LookupFailed."""
        view = await self.world.table.view()
        entry = view.entry(look.name)
        old_key = self.world.keys.load(entry.place.key) if entry else None
        if entry is None or old_key is None:
            raise RotationError(f"{look.name}: the KeyTable's entry or its key has just gone: run it again")
        key_type = old_key.key_type if self.config.key_type == "same" else self.config.key_type
        place, ttl_s = await self._free_place(view, entry, key_type)
        now_s = self.world.clock.unix_s()
        return Rotation(
            name=entry.name,
            domain=entry.domain,
            old=entry.place,
            new=place,
            key_type=key_type,
            phase=Phase.PLANNED,
            phase_since_s=now_s,
            begun_s=now_s,
            wait_s=ttl_s,
        )

    async def _free_place(self, view: KeyTableView, entry: TableEntry, key_type: str) -> tuple[KeyPlace, int]:
        """The first place that is in no table, no rotation, no file and not in DNS; TTL of what DNS has there.

        A name at which there are only revoked keys, as fixed names leave them, is taken when no other is free.
        """
        taken = view.selectors(entry.domain)
        for rotation in self.world.states.all():
            if rotation.domain == entry.domain and not rotation.over:
                taken |= {rotation.old.selector.lower(), rotation.new.selector.lower()}
        directory = self.config.key_directory or os.path.dirname(entry.place.key) or "."  # noqa: PTH120  "./" stays
        revoked: tuple[KeyPlace, int] | None = None
        tried = list(candidates(self.config.selectors, key_type, self.world.clock.unix_s()))[:_CANDIDATES_MAX]
        for selector in tried:
            place = KeyPlace(selector, f"{directory.rstrip('/')}/{entry.domain}.{selector}.private")
            if selector in taken or self.world.keys.exists(place.key):
                continue
            records, ttl_s = await self._in_dns(entry.domain, selector)
            if not records:
                return place, ttl_s
            if not has_key(records):
                revoked = revoked or (place, ttl_s)
        if revoked is None:
            raise RotationError(
                f"{entry.name}: none of {len(tried)} selectors is free for {entry.domain} "
                f"({', '.join(tried[:3])}, ...): add one to [dkim.rotation] selectors"
            )
        return revoked

    async def _in_dns(self, domain: str, selector: str) -> tuple[list[bytes], int]:
        """What any server has at a name that a wildcard does not make up, and how long resolvers remember it."""
        answers = await self.world.servers.ask(record_name(domain, selector))
        visibility = _all_speak(withdrawn(answers))
        records = [record for answer in answers.servers for record in answer.records]
        if records:
            beside = await self.world.servers.ask(record_name(domain, f"tamis-{secrets.token_hex(8)}"))
            made_up = {record for answer in beside.servers for record in answer.records}
            records = [record for record in records if record not in made_up]
        return records, visibility.ttl_s


def _all_speak(visibility: Visibility) -> Visibility:
    if visibility.silent or not visibility.servers:
        raise RotationError(f"not begun: {visibility.text}: every authoritative server has to answer")
    return visibility


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
