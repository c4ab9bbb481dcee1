"""The way to a cell's admin service: where it is, which token to show, and what its answers mean for the exit code.

Strategy: everything is found by itself where `tamis up` runs with its defaults: it leaves address and tokens in its run
directory. Waiting is bounded: a call waits for a connection, since the supervisor may be being restarted, and for its
answer; a stream of progress that breaks is asked for again.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self, TypeVar

import typer

# gRPC's own lines on stderr say nothing that an answer does not. It looks only when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from cli.config import load_config
from cluster.admin.access import is_token
from gateway.cells import parse_host_port
from tamis.admin.v1 import admin_service_pb2 as pb
from tamis.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from wire.config import ConfigError
from wire.stream import CHANNEL_OPTIONS
from wire.tls import TlsConfig, TlsError, on_loopback, read_credentials

EXIT_FAILED = 1
"""The cell refused, what was begun did not come to a good end, or `tamis status` shows a cell that is not ready."""
EXIT_USAGE = 2
EXIT_AWAY = 3
"""No supervisor answered in time."""
EXIT_NOT_ALLOWED = 4
"""No token, a wrong one, or one whose role may not do this."""
EXIT_INTERRUPTED = 130

T = TypeVar("T")
_TOKEN_FILE_BYTES_MAX = 4096
_EXIT_OF_STATUS = {
    grpc.StatusCode.UNAVAILABLE: EXIT_AWAY,
    grpc.StatusCode.DEADLINE_EXCEEDED: EXIT_AWAY,
    grpc.StatusCode.UNAUTHENTICATED: EXIT_NOT_ALLOWED,
    grpc.StatusCode.PERMISSION_DENIED: EXIT_NOT_ALLOWED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: EXIT_NOT_ALLOWED,
}

ConfigOption = Annotated[Path | None, typer.Option(help="Configuration file of the cell.")]
RunDirOption = Annotated[Path, typer.Option(help="Run directory of `tamis up`, with address and tokens.")]
AddressOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Admin service; default: as [cluster.admin] or the run directory says.")
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        envvar="TAMIS_ADMIN_TOKEN_FILE",
        help="File with the token, readable by its owner alone; default: the operator's of the run directory.",
    ),
]
TimeoutOption = Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for the supervisor.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines.")]
WaitOption = Annotated[bool, typer.Option(help="Show the progress until it is over.")]
WhyOption = Annotated[str, typer.Option(help="What the log and the status say about it, one line.")]

RUN_DIR = Path(".run")
TIMEOUT_S = 15.0


class AdminError(Exception):
    """The command cannot go on; the text is one line for the operator."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Access:
    """Where to call, and with what."""

    address: str
    token: str = field(repr=False)
    tls: TlsConfig
    timeout_s: float


def find_access(config: Path | None, run_dir: Path, address: str, token_file: Path | None, timeout_s: float) -> Access:
    """The admin service that the options mean. Raises ConfigError, and AdminError without a token."""
    cluster = load_config(config).cluster
    listen = "" if cluster.admin.listen.endswith(":0") else cluster.admin.listen
    if not address and config is not None and listen:
        address = listen
    if not address:
        address = _first_line(run_dir / "admin" / "address") or listen
    try:
        host, _ = parse_host_port(address)
    except ValueError as error:
        raise ConfigError(f"no admin service is known ({error}): say --address") from error
    if not (on_loopback(host) or cluster.tls.configured):
        raise ConfigError(f"{address} is not on loopback: that needs --config with [cluster.tls]")
    return Access(address, _token(token_file, run_dir), cluster.tls, timeout_s)


def _token(token_file: Path | None, run_dir: Path) -> str:
    path = token_file if token_file is not None else run_dir / "admin" / "operator.token"
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            content = file.read(_TOKEN_FILE_BYTES_MAX)
    except OSError as error:
        hint = "" if token_file is not None else "; does `tamis up` run? else say --run-dir or --token-file"
        raise AdminError(f"no token: {path}: {error.strerror or error}{hint}", EXIT_NOT_ALLOWED) from error
    if mode & 0o077:
        raise AdminError(f"{path}: others can read this token; chmod 600", EXIT_NOT_ALLOWED)
    token = content.decode("ascii", errors="replace").strip()
    if not is_token(token):
        raise AdminError(f"{path}: not one line with a token", EXIT_NOT_ALLOWED)
    return token


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").partition("\n")[0]
    except OSError:
        return ""


class Admin:
    """Calls to one admin service; use it as a context manager."""

    def __init__(self, access: Access) -> None:
        self._access = access
        host, _ = parse_host_port(access.address)
        if on_loopback(host):
            self._channel = grpc.insecure_channel(access.address, options=CHANNEL_OPTIONS)
        else:
            try:
                files = read_credentials(access.tls)
            except TlsError as error:
                raise ConfigError(f"[cluster.tls]: {error}") from error
            credentials = grpc.ssl_channel_credentials(files.authority, files.key, files.certificate)
            self._channel = grpc.secure_channel(access.address, credentials, options=CHANNEL_OPTIONS)
        self._stub: Any = AdminServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {access.token}"),)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, name: str, request: object) -> Any:
        """The answer to a call. Raises AdminError."""
        timeout_s = self._access.timeout_s
        try:
            return getattr(self._stub, name)(request, timeout=timeout_s, metadata=self._metadata, wait_for_ready=True)
        except grpc.RpcError as error:
            self._fail(name, error)

    def stream(self, name: str, request: object) -> Iterator[Any]:
        """The responses to a call that may be repeated: so it is when the supervisor dies. Raises AdminError."""
        heard_s = time.monotonic()
        while True:
            self.status()  # A stream itself may last, so it is a call that waits for the supervisor.
            try:
                for response in getattr(self._stub, name)(request, metadata=self._metadata):
                    heard_s = time.monotonic()
                    yield response
            except grpc.RpcError as error:
                away = error.code() is grpc.StatusCode.UNAVAILABLE
                if not away or time.monotonic() - heard_s > self._access.timeout_s:
                    self._fail(name, error)
                time.sleep(0.5)
            else:
                return

    def status(self) -> Any:
        """GetStatusResponse. Raises AdminError."""
        return self.call("GetStatus", pb.GetStatusRequest())

    def _fail(self, name: str, error: Any) -> NoReturn:
        code, text = error.code(), " ".join((error.details() or "").split())
        if code is grpc.StatusCode.UNIMPLEMENTED:
            text = f"{self._access.address} knows no {name}: {self._release()}"
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            where, within = self._access.address, f"{self._access.timeout_s:g} s"
            text = f"no supervisor at {where} answered within {within}; does `tamis up` run? ({text})"
        raise AdminError(text or code.name, _EXIT_OF_STATUS.get(code, EXIT_FAILED)) from error

    def _release(self) -> str:
        try:
            answer = self._stub.GetStatus(
                pb.GetStatusRequest(), timeout=self._access.timeout_s, metadata=self._metadata
            )
        except grpc.RpcError:
            return "it is no admin service of Tamis"
        return f"it runs Tamis {answer.release}, this is {version('tamis')}"


def run(command: str, access: Callable[[], Access], work: Callable[[Admin], T]) -> T:
    """Do the work of a command; what goes wrong is one line on stderr and an exit code. Raises SystemExit."""
    try:
        with Admin(access()) as admin:
            return work(admin)
    except ConfigError as error:
        print(f"{command}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from error
    except AdminError as error:
        print(f"{command}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        print(f"{command}: left; what was begun goes on", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
