"""The gRPC face of the admin service: AdminService on one port of the supervisor's process.

Handlers admit the caller, call the `CellControl` and encode. Progress is a report, asked for again and again: a client
that goes away stops its own stream and nothing else.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import grpc

from actors.config import check_files, check_signing
from cluster.admin.access import Attempts, Keyring, Role
from cluster.admin.admission import Admission, Context
from cluster.admin.codec import cell_to_proto, node_to_proto, rollout_to_proto, text_to_proto
from cluster.admin.control import CellControl, CellReport, Change, NodeState, NotNow, Refused, RolloutState, UnknownNode
from cluster.admin.learning import LearningDesk, RoleNeeded, Unfit
from cluster.admin.nodes import find_node
from cluster.admin.reload import CONFIG_BYTES_MAX, plan_reload
from cluster.config import AdminConfig, listen_address
from cluster.tls import server_credentials
from tamis.admin.v1 import admin_service_pb2 as pb
from tamis.admin.v1 import admin_service_pb2_grpc
from wire.config import ConfigError
from wire.tls import TlsConfig, TlsError, on_loopback

log = logging.getLogger(__name__)

_WATCH_EVERY_S = 0.5
_CALL_MAX_S = 20.0
_WHY_CHARS_MAX = 200
_BIND_AGAIN_S = 5.0
_SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", CONFIG_BYTES_MAX + 4096),
    # Two processes on one port would share its calls in silence.
    ("grpc.so_reuseport", 0),
)


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Serves operators and the console."""

    def __init__(self, control: CellControl, admission: Admission) -> None:
        self._control = control
        self._admission = admission
        self._desk = LearningDesk()

    async def GetStatus(self, _request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:  # noqa: N802
        """How the cell is."""
        await self._admission.admit(context, "GetStatus", Role.VIEWER)
        async with _answering(context, "GetStatus"):
            report = await self._control.report()
        return pb.GetStatusResponse(release=version("tamis"), cell=cell_to_proto(report))

    async def Drain(self, _request: pb.DrainRequest, context: Context) -> AsyncIterator[pb.DrainResponse]:  # noqa: N802
        """Refuse new transactions, and tell how many are still open."""
        await self._admission.admit(context, "Drain", Role.OPERATOR)
        async with _answering(context, "Drain"):
            await self._control.drain(draining=True)
        async for report in self._reports(context, "Drain"):
            if not report.draining:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "resumed meanwhile")
            transactions = sum(process.outstanding for process in report.processes if not process.actors)
            yield pb.DrainResponse(transactions=transactions, drained=not transactions)
            if not transactions:
                return

    async def Resume(self, _request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:  # noqa: N802
        """Take transactions again."""
        await self._admission.admit(context, "Resume", Role.OPERATOR)
        async with _answering(context, "Resume"):
            await self._control.drain(draining=False)
        return pb.ResumeResponse()

    async def DrainNode(  # noqa: N802
        self, request: pb.DrainNodeRequest, context: Context
    ) -> AsyncIterator[pb.DrainNodeResponse]:
        """Move everything away from a node, and tell what is still there."""
        await self._admission.admit(context, "DrainNode", Role.OPERATOR)
        async with _answering(context, "DrainNode"):
            wanted = find_node((await self._control.report()).nodes, request.node).node
            await self._control.drain_node(wanted, draining=True)
        async for report in self._reports(context, "DrainNode"):
            node = next((node for node in report.nodes if node.node == wanted), None)
            if node is None:
                return  # It has left the cell.
            if node.state is NodeState.UP:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "resumed meanwhile")
            there = [process for process in report.processes if process.node == wanted]
            outstanding = sum(process.outstanding for process in there)
            yield pb.DrainNodeResponse(node=node_to_proto(node), processes=len(there), outstanding=outstanding)
            if node.state is not NodeState.DRAINING:
                return

    async def ResumeNode(self, request: pb.ResumeNodeRequest, context: Context) -> pb.ResumeNodeResponse:  # noqa: N802
        """Let a node take work again."""
        await self._admission.admit(context, "ResumeNode", Role.OPERATOR)
        async with _answering(context, "ResumeNode"):
            wanted = find_node((await self._control.report()).nodes, request.node).node
            await self._control.drain_node(wanted, draining=False)
            node = find_node((await self._control.report()).nodes, wanted)
        return pb.ResumeNodeResponse(node=node_to_proto(node))

    async def Reload(self, request: pb.ReloadRequest, context: Context) -> pb.ReloadResponse:  # noqa: N802
        """Check a configuration file whole, then begin the rollout to it."""
        who = await self._admission.admit(context, "Reload", Role.OPERATOR)
        async with _answering(context, "Reload"):
            plan = plan_reload(request.config, _why(request.why, "reload", who.name), self._control.settings())
            if plan.change is not None and plan.change.judgement is not None:
                check_files(plan.change.judgement)
                await check_signing(plan.change.judgement)
            generation = 0 if plan.change is None else await self._control.start_rollout(plan.change)
        change = plan.change
        return pb.ReloadResponse(
            generation=generation if change is not None and change.replaces else 0,
            needs_restart=plan.needs_restart,
            config_version=plan.config_version,
            resized=change is not None and change.pools is not None,
        )

    async def StartRollout(  # noqa: N802
        self, request: pb.StartRolloutRequest, context: Context
    ) -> pb.StartRolloutResponse:
        """Begin to replace every process."""
        who = await self._admission.admit(context, "StartRollout", Role.OPERATOR)
        async with _answering(context, "StartRollout"):
            generation = await self._control.start_rollout(Change(_why(request.why, "rollout", who.name)))
        return pb.StartRolloutResponse(generation=generation)

    async def WatchRollout(  # noqa: N802
        self, _request: pb.WatchRolloutRequest, context: Context
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        """Show the rollout until it is over."""
        await self._admission.admit(context, "WatchRollout", Role.VIEWER)
        async for report in self._reports(context, "WatchRollout"):
            rollout = report.rollout
            yield pb.WatchRolloutResponse(rollout=None if rollout is None else rollout_to_proto(rollout))
            if rollout is None or rollout.state is not RolloutState.RUNNING:
                return

    async def StopRollout(  # noqa: N802
        self, _request: pb.StopRolloutRequest, context: Context
    ) -> pb.StopRolloutResponse:
        """Replace no further process."""
        await self._admission.admit(context, "StopRollout", Role.OPERATOR)
        async with _answering(context, "StopRollout"):
            await self._control.stop_rollout()
        return pb.StopRolloutResponse()

    async def RollBack(self, _request: pb.RollBackRequest, context: Context) -> pb.RollBackResponse:  # noqa: N802
        """Begin a rollout to what was before."""
        await self._admission.admit(context, "RollBack", Role.OPERATOR)
        async with _answering(context, "RollBack"):
            generation = await self._control.roll_back()
        return pb.RollBackResponse(generation=generation)

    async def Learn(self, request: pb.LearnRequest, context: Context) -> pb.LearnResponse:  # noqa: N802
        """Have the classifier learn a message."""
        who = await self._admission.admit(context, "Learn", Role.TEACHER)
        async with _answering(context, "Learn"):
            return await self._desk.learn(request, who, self._control.settings().judgement)
        raise grpc.aio.AbortError  # As `_answering` has done, which its types do not say.

    async def _reports(self, context: Context, call: str) -> AsyncIterator[CellReport]:
        """A report now, and then again and again."""
        while True:
            async with _answering(context, call):
                report = await self._control.report()
            yield report
            await asyncio.sleep(_WATCH_EVERY_S)


@asynccontextmanager
async def _answering(context: Context, call: str) -> AsyncIterator[None]:
    """Whatever goes wrong inside ends the call with a status and one line."""
    try:
        async with asyncio.timeout(_CALL_MAX_S):
            yield
    except UnknownNode as error:
        await context.abort(grpc.StatusCode.NOT_FOUND, text_to_proto(str(error)))
    except Unfit as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text_to_proto(str(error)))
    except RoleNeeded as error:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, text_to_proto(str(error)))
    except NotNow as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, text_to_proto(str(error)))
    except Refused as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text_to_proto(str(error)))
    except ConfigError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text_to_proto(str(error)))
    except TimeoutError:
        await context.abort(grpc.StatusCode.UNAVAILABLE, f"the supervisor is busy: no answer in {_CALL_MAX_S:g} s")
    except Exception as error:
        log.exception("admin_call_failed call=%s", call)
        await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: see the supervisor's log")


def _why(given: str, kind: str, name: str) -> str:
    """One line of a bounded length: what the caller says, or what it called, and who it is."""
    text = " ".join("".join(char if char.isprintable() else " " for char in given).split())
    return f"{text[:_WHY_CHARS_MAX] or kind} (by {name})"


async def keep_serving(control: CellControl, config: AdminConfig, tls: TlsConfig, tell: Callable[[str], None]) -> None:
    """Serve until cancelled, if an address is configured; while it cannot be had, try again and again.

    `tell` gets one line that says why there is no service, and an empty one once there is.
    """
    if not config.listen:
        return
    while True:
        try:
            server, _ = await serve(control, config, tls)
            break
        except (OSError, TlsError) as error:
            log.error("admin_not_served address=%s why=%s", config.listen, error)  # noqa: TRY400 - its text says all
            tell(f"[cluster.admin] listen: {error}")
            await asyncio.sleep(_BIND_AGAIN_S)
    tell("")
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(None)


async def serve(control: CellControl, config: AdminConfig, tls: TlsConfig) -> tuple[grpc.aio.Server, int]:
    """Start the server on `config.listen`; returns it with its port.

    Raises OSError when the port is taken, TlsError for unfit files.
    """
    host, port = listen_address(config.listen)
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    admission = Admission(Keyring(Path(config.tokens)), Attempts(time.monotonic))
    server = grpc.aio.server(options=_SERVER_OPTIONS)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(control, admission), server)
    try:
        if on_loopback(host):
            bound = server.add_insecure_port(name)
        else:
            bound = server.add_secure_port(name, server_credentials(tls))
    except RuntimeError as error:
        raise OSError(f"{name} cannot be bound") from error
    await server.start()
    log.info("admin_serves address=%s", name)
    return server, bound
