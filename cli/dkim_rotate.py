"""`tamis dkim rotate`: new keys in place of old ones, step by step, whenever a timer or a person runs it."""

import asyncio
import contextlib
import json
import os
import pwd
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.config import TamisConfig, load_config
from cli.dkim_setup import ConfigOption, JsonOption, UsageError, run
from cli.moment import MomentError, moment

if TYPE_CHECKING:
    from actors.dkim.rotation.ports import Publisher
    from actors.dkim.rotation.run import Look, Rotator, World
    from actors.ports import Clock

_POLL_S = 30.0


class Action(StrEnum):
    """What is wanted."""

    RUN = "run"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class _Moment:
    """A clock that stands at the time of --at."""

    at_s: float

    def unix_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return time.monotonic()


def rotate(  # noqa: PLR0913  the options of the command
    action: Annotated[Action, typer.Argument(help="Do what is due, or show how each key stands.")] = Action.RUN,
    *,
    config: ConfigOption = None,
    now: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Begin with this key, due or not.")] = None,
    cancel: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Give up the new key of a rotation that is under way.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Go on until nothing is under way any more.")] = False,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Act as if it were then (ISO 8601): to rehearse.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Rotate the keys of the KeyTable as [dkim.rotation] says; does what is due and returns.

    Exits 0 when all is well or waits for time, 1 when a key needs a person (the text says why), 2 for wrong options.
    """

    async def work() -> bool:
        from actors.dkim.rotation.ports import RotationError

        job = _job(config, at)
        if wait and (at or dry_run or action is Action.STATUS):
            raise UsageError("--wait goes with neither --at, --dry-run nor status")
        if cancel and (dry_run or action is Action.STATUS):
            raise UsageError("--cancel changes something: it goes with neither --dry-run nor status")
        try:
            if action is Action.STATUS or dry_run:
                looks = await job.look(now or ())
                _show(looks, as_json=as_json, table=action is Action.STATUS)
                return not any(_is_problem(look) for look in looks)
            return await job.run_until_done(now or (), cancel or (), wait=wait, as_json=as_json)
        except RotationError as error:
            print(f"tamis dkim rotate: {error}", file=sys.stderr)
            return False

    run("rotate", work())


@dataclass(frozen=True, slots=True)
class Job:
    """Settings and clock; every pass looks at the world anew."""

    settings: TamisConfig
    clock: "Clock"

    async def look(self, wanted: Sequence[str]) -> "list[Look]":
        """How each key stands, and what a new rotation would choose. Raises RotationError, TableError, UsageError."""
        rotator = self._rotator()
        for name, why in (await rotator.world.table.view()).left_out.items():
            print(f"{name}: left out: {why}", file=sys.stderr)
        return await rotator.rehearse(await self._names(rotator, wanted), wanted)

    async def run_until_done(
        self, wanted: Sequence[str], cancelled: Sequence[str], *, wait: bool, as_json: bool
    ) -> bool:
        """One pass, or as many as it takes. Raises RotationError, TableError, UsageError and OSError."""
        from cli.progress import progress

        looks = await self._pass(wanted, cancelled)
        _show(looks, as_json=as_json)
        under_way = {look.name for look in looks if _is_under_way(look)}
        if not wait or not under_way:
            return not any(_is_problem(look) for look in looks)
        with contextlib.nullcontext(_say_nothing) if as_json else progress() as step:
            while True:
                left = [look for look in looks if look.name in under_way and _is_under_way(look)]
                step(_progress_text(left), len(under_way) - len(left), len(under_way))
                if not left or all(_is_problem(look) for look in left):
                    break
                await asyncio.sleep(_pause_s(left, self.clock.unix_s()))
                looks = await self._pass((), ())
        _show(looks, as_json=as_json)
        return not any(_is_problem(look) for look in looks)

    async def _pass(self, wanted: Sequence[str], cancelled: Sequence[str]) -> "list[Look]":
        from actors.adapters.rotation_files import only_run

        directory = Path(self.settings.dkim.rotation.state_directory)
        with only_run(directory):
            rotator = self._rotator()
            for name in cancelled:
                await rotator.cancel(name)
            return await rotator.run(await self._names(rotator, wanted), wanted)

    def _rotator(self) -> "Rotator":
        from actors.dkim.rotation.run import Rotator

        return Rotator(self._world(), self.settings.dkim.rotation)

    async def _names(self, rotator: "Rotator", wanted: Sequence[str]) -> list[str]:
        names = await rotator.names()
        view = await rotator.world.table.view()
        for name in wanted:
            if name.lower() not in {known.lower() for known in names}:
                why = view.left_out.get(name.lower(), "is not in the KeyTable, or not in [dkim.rotation] names")
                raise UsageError(f"--now {name}: {why}")
        return names

    def _world(self) -> "World":
        from actors.adapters.authority import AuthoritativeServers
        from actors.adapters.rotation_files import AuditLog, KeyTableFile, PrivateKeyFiles, StateFiles
        from actors.dkim.rotation.run import World

        signing, config = self.settings.dkim.signing, self.settings.dkim.rotation
        servers = AuthoritativeServers(config, self.settings.dns.nameservers)
        return World(
            table=KeyTableFile.of_setting(signing.key_table, signing.seal_key),
            keys=PrivateKeyFiles(signing.key_bits_min, require_safe=signing.require_safe_keys),
            states=StateFiles(Path(config.state_directory)),
            servers=servers,
            publisher=_publisher(self.settings, servers),
            audit=AuditLog(Path(config.audit_path), _who(), self.clock),
            clock=self.clock,
        )


def _job(path: Path | None, at: str | None) -> Job:
    from actors.adapters.clock import SystemClock

    settings = load_config(path)
    if not settings.dkim.rotation.publish:
        raise UsageError("[dkim.rotation] publish is empty: say how DNS is told (--config)")
    if not settings.dkim.signing.key_table:
        raise UsageError("[dkim.signing] key_table is empty: there are no keys (--config)")
    try:
        at_s = None if at is None else moment(at)
    except MomentError as error:
        raise UsageError(f"--at {at}: not an ISO 8601 time") from error
    if at == "message":
        raise UsageError("--at message: not an ISO 8601 time")
    return Job(settings, SystemClock() if at_s is None else _Moment(at_s))


def _publisher(settings: TamisConfig, servers: Any) -> "Publisher":
    """How DNS is told. Raises RotationError when the TSIG key cannot be read."""
    from actors.adapters.dns_update import DnsUpdate, read_tsig_key
    from actors.adapters.rotation_command import Command
    from actors.adapters.zone_fragment import ZoneFragments

    config = settings.dkim.rotation
    if config.publish == "nsupdate":
        return DnsUpdate(config, servers, read_tsig_key(config, dict(os.environ)))
    fragments = ZoneFragments(config.zone_file, config.ttl_s) if config.publish == "zone-file" else None
    if fragments is not None and not config.command:
        return fragments
    return Command(config.command, config.command_timeout_s, fragments)


def _who() -> str:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    asked = os.environ.get("SUDO_USER", "")
    return f"{user} for {asked}" if asked else user


def _is_under_way(look: "Look") -> bool:
    return look.rotation is not None and not look.rotation.over


def _is_problem(look: "Look") -> bool:
    return look.step.kind == "held"


def _pause_s(looks: "Sequence[Look]", now_s: float) -> float:
    dues_s = [look.step.due_s - now_s for look in looks if look.step.due_s is not None]
    return min(_POLL_S, max(1.0, min(dues_s))) if len(dues_s) == len(looks) else min(_POLL_S, 5.0)


def _progress_text(looks: "Sequence[Look]") -> str:
    return "; ".join(f"{look.name}: {_next(look)}" for look in looks[:3]) or "over"


def _say_nothing(_text: str, _over: int, _total: int) -> None:
    """A step of work whose result is JSON."""


def _show(looks: "Sequence[Look]", *, as_json: bool, table: bool = False) -> None:
    if as_json:
        for look in looks:
            print(json.dumps(_as_json(look)))
    elif table:
        _show_table(looks)
    else:
        for look in looks:
            if look.done or look.step.kind != "rest":
                said = [*map(str, look.done), _next(look)]
                print(f"{look.name}: {', '.join(said)}", file=sys.stderr if _is_problem(look) else sys.stdout)


def _show_table(looks: "Sequence[Look]") -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.status import console

    table = Table("key", "domain", "phase", "old", "new", "next")
    for look in looks:
        rotation = look.rotation
        cells = [look.name, look.domain, "", "", ""]
        if rotation is not None:
            cells[2:] = [_phase(look), rotation.old.selector, rotation.new.selector]
        elif look.seen.entry is not None:
            cells[3] = look.seen.entry.selector
        table.add_row(*map(Text, [*cells, _next(look)]))
    console().print(table)


def _phase(look: "Look") -> str:
    if look.rotation is None:
        return ""
    return f"{look.rotation.phase} (cancelled)" if look.rotation.cancelled else str(look.rotation.phase)


def _next(look: "Look") -> str:
    due = f" until {_iso(look.step.due_s)}" if look.step.due_s is not None else ""
    return f"{look.step.kind}{due}: {look.step.text}"


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def _as_json(look: "Look") -> dict[str, object]:
    rotation = look.rotation
    row: dict[str, object] = {
        "name": look.name,
        "domain": look.domain,
        "phase": rotation.phase if rotation else None,
        "step": look.step.kind,
        "text": look.step.text,
        "due": _iso(look.step.due_s) if look.step.due_s is not None else None,
        "problem": _is_problem(look),
        "done": list(look.done),
    }
    if rotation is not None:
        row |= {
            "since": _iso(rotation.phase_since_s),
            "cancelled": rotation.cancelled,
            "old": {"selector": rotation.old.selector, "key": rotation.old.key},
            "new": {"selector": rotation.new.selector, "key": rotation.new.key},
        }
    if look.seen.visibility is not None:
        row |= {"behind": look.seen.visibility.behind, "silent": look.seen.visibility.silent}
    return row
