"""`tamis drain` and `tamis node`: take work away from the whole cell, or from one of its nodes."""

import time
from typing import Annotated

import typer

from cli.admin import (
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
    WaitOption,
    find_access,
    run,
)
from cli.progress import progress
from cli.status import as_line, console, nodes_table, word
from tamis.admin.v1 import admin_service_pb2 as pb
from tamis.admin.v1 import cell_pb2

UndoOption = Annotated[bool, typer.Option("--undo", help="Take work again.")]
WithinOption = Annotated[
    float, typer.Option(min=0, max=86_400, help="Give up waiting after so many seconds; the drain itself goes on.")
]
_WITHIN_S = 3600.0


def drain(  # noqa: PLR0913  the options of the command
    *,
    undo: UndoOption = False,
    wait: WaitOption = True,
    within_s: WithinOption = _WITHIN_S,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Have all ingresses of the cell refuse new transactions: gateways go to their other cells.

    Exits 0 when no transaction is open any more, 1 when some are after --within-s, 2 for wrong options, 3 when no
    supervisor answers, 4 without a token that may.
    """

    def work(admin: Admin) -> None:
        if undo:
            admin.call("Resume", pb.ResumeRequest())
            print("the cell takes transactions")
            return
        deadline_s = time.monotonic() + within_s
        most = 0
        with progress() as step:
            for answer in admin.stream("Drain", pb.DrainRequest()):
                most = max(most, answer.transactions)
                step("transactions over", most - answer.transactions, most)
                if not wait:
                    break
                if not answer.drained:
                    _check_time(deadline_s, f"{answer.transactions} transactions are open")
        print("drained" if answer.drained else "draining")

    run("tamis drain", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


def drain_node(  # noqa: PLR0913  the options of the command
    node: Annotated[str, typer.Argument(help="Name, address or id of the node, or the beginning of the id.")],
    *,
    undo: UndoOption = False,
    wait: WaitOption = True,
    within_s: WithinOption = _WITHIN_S,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """Move everything away from a node, so that it can be switched off.

    Exits 0 when nothing runs there any more, 1 when the cell refuses or after --within-s, 2 for wrong options, 3 when
    no supervisor answers, 4 without a token that may.
    """

    def work(admin: Admin) -> None:
        if undo:
            found = admin.call("ResumeNode", pb.ResumeNodeRequest(node=node)).node
            print(f"{found.name} takes work")
            return
        deadline_s = time.monotonic() + within_s
        most, state = 0, "away"
        with progress() as step:
            for answer in admin.stream("DrainNode", pb.DrainNodeRequest(node=node)):
                state = word(cell_pb2.NodeState.Name(answer.node.state))
                most = max(most, answer.processes)
                text = f"processes moved from {answer.node.name}"
                step(f"{text} ({answer.outstanding} tasks open)", most - answer.processes, most)
                if not wait:
                    break
                if state == "draining":
                    _check_time(deadline_s, f"{answer.processes} processes are left on {answer.node.name}")
        print("gone" if wait and state == "draining" else state)

    run("tamis node drain", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


def list_nodes(  # noqa: PLR0913  the options of the command
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    run_dir: RunDirOption = RUN_DIR,
    address: AddressOption = "",
    token_file: TokenOption = None,
    timeout_s: TimeoutOption = TIMEOUT_S,
) -> None:
    """List the nodes of the cell.

    Exits 0, 2 for wrong options, 3 when no supervisor answers, 4 without a token that may.
    """

    def work(admin: Admin) -> None:
        cell = admin.status().cell
        if as_json:
            for node in cell.nodes:
                print(as_line(node))
        else:
            console().print(nodes_table(cell))

    run("tamis node list", lambda: find_access(config, run_dir, address, token_file, timeout_s), work)


VERBS = {"list": list_nodes, "drain": drain_node}


def _check_time(deadline_s: float, left: str) -> None:
    if time.monotonic() > deadline_s:
        raise AdminError(f"{left}; the drain goes on", EXIT_FAILED)
