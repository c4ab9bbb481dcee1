"""`tamis rollout` and `tamis reload`: replace the processes of a cell, new ones proven before the old ones end."""

from pathlib import Path
from typing import Annotated

import typer

from cli.admin import (
    EXIT_FAILED,
    RUN_DIR,
    TIMEOUT_S,
    Access,
    AddressOption,
    Admin,
    AdminError,
    ConfigOption,
    JsonOption,
    RunDirOption,
    TimeoutOption,
    TokenOption,
    WaitOption,
    WhyOption,
    find_access,
    run,
)
from cli.progress import progress
from cli.status import as_line, console, plain, rollout_line
from tamis.admin.v1 import admin_service_pb2 as pb
from tamis.admin.v1 import cell_pb2
from wire.config import ConfigError


def reload(  # noqa: PLR0913  the options of the command
    config: Annotated[Path, typer.Option(help="Configuration file: the cell gets what it says.")],
    *,
    why: WhyOption = "",
    wait: WaitOption = True,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Check a configuration file, then bring it to the running cell: judgement and pools, as a rollout.

    Exits 0 when every process has the new settings, 1 when the cell refuses or the rollout stopped, 2 when the file has
    a mistake, 3 when no supervisor answers, 4 without a token that may.
    """

    def access() -> Access:
        # This also checks the file whole, [gateway] included.
        return find_access(config, run_dir, address, token_file, timeout_s)

    def work(admin: Admin) -> None:
        try:
            content = config.read_bytes()
        except OSError as error:
            raise ConfigError(f"{config}: cannot be read: {error}") from error
        answer = admin.call("Reload", pb.ReloadRequest(config=content, why=why))
        for key in answer.needs_restart:
            print(f"{plain(key)} holds only from the next start of the cell on")
        if answer.resized:
            print("pools get their new sizes: `tamis status` shows how far they are")
        if not (answer.generation or answer.resized):
            print(f"nothing to do: the cell has the settings {plain(answer.config_version)} already")
        elif answer.generation:
            _follow(admin, answer.generation, wait=wait)

    run("tamis reload", access, work)


def start(  # noqa: PLR0913  the options of the command
    *,
    why: WhyOption = "",
    wait: WaitOption = True,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Replace every process, for a new release or model.

    Exits 0 when every process is replaced, 1 when the cell refuses or the rollout stopped, 2 for wrong options, 3 when
    no supervisor answers, 4 without a token that may.
    """

    def work(admin: Admin) -> None:
        _follow(admin, admin.call("StartRollout", pb.StartRolloutRequest(why=why)).generation, wait=wait)

    run("tamis rollout start", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


def show(  # noqa: PLR0913  the options of the command
    *,
    as_json: JsonOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until it is over.")] = False,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Show the rollout that runs, or the last one.

    Exits 0 when there is none or it runs or is done, 1 when it was stopped, 2 for wrong options, 3 when no supervisor
    answers, 4 without a token that may.
    """

    def work(admin: Admin) -> None:
        cell = admin.status().cell
        if as_json:
            print(as_line(cell.rollout))
        elif not cell.HasField("rollout"):
            print(f"no rollout yet: everything is generation {cell.generation}")
        elif wait and cell.rollout.state == cell_pb2.ROLLOUT_STATE_RUNNING:
            _follow(admin, cell.rollout.generation, wait=True)
        else:
            console().print(rollout_line(cell.rollout))
        if cell.rollout.state == cell_pb2.ROLLOUT_STATE_STOPPED:
            raise SystemExit(EXIT_FAILED)

    run("tamis rollout status", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


def stop(
    *,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Replace no further process; what is replaced stays.

    Exits 0 when the rollout is stopped, 1 when none runs, 2 for wrong options, 3 when no supervisor answers, 4 without
    a token that may.
    """

    def work(admin: Admin) -> None:
        admin.call("StopRollout", pb.StopRolloutRequest())
        console().print(rollout_line(admin.status().cell.rollout))

    run("tamis rollout stop", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


def back(  # noqa: PLR0913  the options of the command
    *,
    wait: WaitOption = True,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Go back to the settings before the last rollout, also while that one runs.

    Exits as `tamis rollout start`.
    """

    def work(admin: Admin) -> None:
        _follow(admin, admin.call("RollBack", pb.RollBackRequest()).generation, wait=wait)

    run("tamis rollout back", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


VERBS = {"start": start, "status": show, "stop": stop, "back": back}


def _follow(admin: Admin, generation: int, *, wait: bool) -> None:
    """Show the rollout to this generation until it is over. Raises AdminError when its end is no good one."""
    if not wait:
        print(f"rollout to generation {generation} begun")
        return
    rollout = cell_pb2.Rollout()
    with progress() as step:
        for answer in admin.stream("WatchRollout", pb.WatchRolloutRequest()):
            rollout = answer.rollout
            if rollout.generation != generation:
                break
            text = plain(rollout.watching) or f"processes of generation {generation}"
            step(text, rollout.replaced, rollout.total)
    if rollout.generation != generation:
        raise AdminError(f"another rollout took over, to generation {rollout.generation}", EXIT_FAILED)
    console().print(rollout_line(rollout))
    if rollout.state != cell_pb2.ROLLOUT_STATE_DONE:
        raise AdminError("stopped; `tamis rollout back` returns to what was before", EXIT_FAILED)
