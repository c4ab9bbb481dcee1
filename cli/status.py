"""`tamis status`: nodes, processes, pools, rollout, problems and counters of a cell."""

import contextlib
import json
import time
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actors.classifier.comparison import PREFIX
from cli.admin import (
    EXIT_AWAY,
    EXIT_FAILED,
    RUN_DIR,
    TIMEOUT_S,
    AddressOption,
    Admin,
    AdminError,
    ConfigOption,
    JsonOption,
    RunDirOption,
    TimeoutOption,
    TokenOption,
    find_access,
    run,
)
from tamis.admin.v1 import cell_pb2

_COLUMNS_OF_A_PIPE = 160
_MIB = 1 << 20


def status(  # noqa: PLR0913  the options of the command
    *,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    every_s: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Show a cell: nodes, processes, pools, rollout, problems.

    Exits 0 when the cell is ready, 1 when it is not, 2 for wrong options, 3 when no supervisor answers, 4 without a
    token that may.
    """

    def show(admin: Admin) -> bool:
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(admin, every_s, as_json=as_json)
            return True
        answer = admin.status()
        if as_json:
            print(as_line(answer))
        else:
            console().print(as_text(answer))
        return bool(answer.cell.ready)

    if not run("tamis status", lambda: find_access(config, run_dir, address, token_file, timeout_s), show):
        raise SystemExit(EXIT_FAILED)


def _watch(admin: Admin, every_s: float, *, as_json: bool) -> None:
    """Show it until somebody interrupts; a supervisor that is away is shown, too."""
    shown: RenderableType = ""
    with Live(console=console(), auto_refresh=False, screen=False) as live:
        while True:
            try:
                answer = admin.status()
            except AdminError as error:
                if error.exit_code != EXIT_AWAY:
                    raise
                live.update(Group(shown, Text(f"\n{error}", "bold red")), refresh=True)
            else:
                if as_json:
                    print(as_line(answer), flush=True)
                else:
                    shown = as_text(answer)
                    live.update(shown, refresh=True)
            time.sleep(every_s)


def console() -> Console:
    """Standard output; a pipe is wide, so that no line of a table is cut."""
    found = Console(highlight=False, markup=False)
    return found if found.is_terminal else Console(highlight=False, markup=False, width=_COLUMNS_OF_A_PIPE)


def as_line(answer: Any) -> str:
    """An answer as one JSON object; fields have their names in the proto, states are words such as "up"."""
    return json.dumps(_values(answer))


def _values(message: Any) -> dict[str, Any]:
    """A message as plain values; protobuf's own JSON makes text of numbers."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_values(one) if field.message_type is not None else one for one in value]
    if field.message_type is not None:
        return _values(value)
    return word(field.enum_type.values_by_number[value].name) if field.enum_type is not None else value


def as_text(answer: Any) -> RenderableType:
    """GetStatusResponse for people."""
    cell = answer.cell
    names = {node.node: node.name or node.node for node in cell.nodes}
    parts: list[RenderableType] = [_head(answer)]
    if cell.HasField("rollout"):
        parts.append(rollout_line(cell.rollout))
    parts += [nodes_table(cell), _processes(cell, names), _pools(cell)]
    if cell.problems:
        table = _table("problem of", "what")
        for name, problem in sorted(cell.problems.items()):
            table.add_row(Text(plain(name), "bold red"), plain(problem))
        parts.append(table)
    # What two models said is a report of its own: `tamis model report`.
    counters = {name: count for name, count in cell.counters.items() if not name.startswith(f"{PREFIX} ")}
    if counters:
        table = _table("counter", "#number")
        for name, count in sorted(counters.items()):
            table.add_row(plain(name), str(count))
        parts.append(table)
    return Group(*(piece for part in parts for piece in (part, "") if not _is_empty(part)))


def rollout_line(rollout: Any) -> Text:
    """One line about a rollout."""
    state = word(cell_pb2.RolloutState.Name(rollout.state))
    text = Text(f"rollout to generation {rollout.generation} ")
    text.append(state, "bold red" if state == "stopped" else "bold")
    text.append(f", {rollout.replaced} of {rollout.total} processes replaced: {plain(rollout.why)}")
    if rollout.watching:
        text.append(f"; {plain(rollout.watching)}")
    if rollout.problem:
        text.append(f"; {plain(rollout.problem)}", "red")
    return text


def word(name: str) -> str:
    """The state of PROCESS_STATE_UP."""
    return name.partition("_STATE_")[2].lower().replace("_", " ")


def plain(text: str) -> str:
    """Text of others, without what a terminal would take for a command."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _head(answer: Any) -> Text:
    cell = answer.cell
    text = Text("cell ")
    text.append("ready" if cell.ready else "not ready", "bold green" if cell.ready else "bold red")
    if cell.draining:
        text.append(", draining", "bold yellow")
    text.append(f", generation {cell.generation}, settings {plain(cell.config_version)}, Tamis {plain(answer.release)}")
    if answer.release != version("tamis"):
        text.append(f" (this is {version('tamis')})", "yellow")
    return text


def nodes_table(cell: Any) -> Table:
    """The nodes with what runs there."""
    table = _table("node", "address", "state", "#cores", "#processes", "#memory", "")
    for node in cell.nodes:
        there = [process for process in cell.processes if process.node == node.node]
        table.add_row(
            plain(node.name or node.node),
            plain(node.address),
            _state(cell_pb2.NodeState.Name(node.state)),
            f"{node.cores:g}",
            str(len(there)),
            _size(sum(process.memory_bytes for process in there)),
            plain("; ".join(filter(None, ("head" if node.head else "", node.problem)))),
        )
    return table


def _processes(cell: Any, names: dict[str, str]) -> Table:
    table = _table(
        "process", "actors", "node", "address", "state", "#gen", "#open", "#age", "#restarts", "#memory", "model"
    )
    for process in cell.processes:
        table.add_row(
            plain(process.name),
            plain(" ".join(process.actors)) or "-",
            plain(names.get(process.node, process.node)) or "-",
            plain(process.address) or "-",
            _state(cell_pb2.ProcessState.Name(process.state)),
            str(process.generation),
            str(process.outstanding),
            _age(process.age_s),
            str(process.restarts),
            _size(process.memory_bytes),
            plain(process.model) or "-",
        )
    return table


def _pools(cell: Any) -> Table:
    table = _table("pool", "#up", "#wanted", "#open", "#delay", "why")
    for pool in cell.pools:
        table.add_row(
            plain(pool.actor),
            Text(str(pool.up), "red" if pool.up < pool.wanted else ""),
            str(pool.wanted),
            str(pool.outstanding),
            f"{pool.queue_delay_ms:.0f} ms",
            plain(pool.why),
        )
    return table


def _table(*columns: str) -> Table:
    """Without lines; columns of numbers begin with # and stand to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.removeprefix("#").upper(), justify="right" if column.startswith("#") else "left", overflow="fold"
        )
    return table


def _is_empty(part: RenderableType) -> bool:
    return isinstance(part, Table) and not part.row_count


def _state(name: str) -> Text:
    state = word(name)
    return Text(state, {"up": "green", "down": "bold red", "away": "bold red"}.get(state, "yellow"))


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.0f} MB" if size_bytes else "-"


def _age(age_s: float) -> str:
    if age_s < 120:
        return f"{age_s:.0f} s"
    if age_s < 7200:
        return f"{age_s / 60:.0f} min"
    return f"{age_s / 3600:.0f} h" if age_s < 172_800 else f"{age_s / 86_400:.0f} d"
