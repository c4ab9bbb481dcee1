"""A gateway in memory: driver, session, link and replies for real; the MTA and the ingresses played by the test."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.bounds import HeldBytes
from gateway.config import GatewayConfig, GatewayRoot
from gateway.conversation import Budgets
from gateway.driver import Driver
from gateway.early import Stage
from gateway.failure_policy import FailurePolicy
from gateway.fallback import Fallback
from gateway.judge import Services
from gateway.link import Link
from gateway.metrics import Metrics
from gateway.runtime import LIMITS
from gateway.server import Server
from gateway.session import SessionRules
from gateway.spool import Spool
from gateway.telemetry import Telemetry
from tests.gateway.fake_ingress import Cell
from tests.gateway.linked import settings
from tests.gateway.mta import Mta
from wire.trace import SpanRecord


def in_place(work: Callable[[], object]) -> "asyncio.Future[object]":
    """What would go to a thread is done at once: a virtual clock does not wait for threads."""
    done = asyncio.get_running_loop().create_future()
    try:
        done.set_result(work())
    except OSError as error:
        done.set_exception(error)
    return done


class MemoryTransport(asyncio.Transport):
    """What the driver writes goes to the MTA; closing tells both sides, as a socket does."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False
        self.paused = False
        self._unread = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written to a closed connection"
        self.incoming.put_nowait(bytes(data))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.incoming.put_nowait(b"")
            asyncio.get_running_loop().call_soon(self._driver.connection_lost, None)

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def is_reading(self) -> bool:
        return not self.paused

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        waiting, self._unread = self._unread, b""
        if waiting:
            asyncio.get_running_loop().call_soon(self.deliver, waiting)

    def deliver(self, data: bytes) -> None:
        """The MTA writes."""
        if self.paused:
            self._unread += data
        else:
            self._driver.data_received(data)


class Rig:
    """One server, its link and what they report."""

    def __init__(
        self,
        cell: Cell,
        targets: tuple[str, ...] = (),
        root: GatewayRoot | None = None,
        sample_ratio: float = 0.0,
        slow_s: float = 1.0,
    ) -> None:
        config = (root or GatewayRoot()).gateway
        self.metrics = Metrics()
        self.spans: list[SpanRecord] = []
        budgets = Budgets(config.ingress_budget_s, config.early.budgets_s, config.end_of_message_budget_s)
        self.link = Link(settings(cell, *targets, budgets=budgets), self.metrics)
        self.held = HeldBytes(config.held_bytes_max)
        self.spool = Spool(config.spool, in_place)
        telemetry = Telemetry(
            self.metrics,
            sample_ratio=sample_ratio,
            slow_s=slow_s,
            export=self.spans.extend,
            clock=asyncio.get_running_loop().time,
        )
        services = Services(
            self.link,
            telemetry,
            SessionRules(
                config.message_bytes_max,
                frozenset(map(Stage, config.early.stages)),
                tenants=config.tenants,
                spools=bool(config.spool.directory),
            ),
            LIMITS,
            self.held,
            FailurePolicy(config.on_failure, Fallback(config.fallback)),
            self.spool,
        )
        self.server = Server(config, services)
        self.transports: list[MemoryTransport] = []

    def connect(self) -> Mta:
        """A new milter connection."""
        driver = self.server.driver()
        transport = MemoryTransport(driver)
        self.transports.append(transport)
        driver.connection_made(transport)
        return Mta(transport.deliver, transport.incoming.get)

    def hang_up(self, number: int = -1) -> None:
        """The MTA's end of a connection goes away."""
        self.transports[number].close()

    def value(self, name: str, **labels: str) -> float:
        """A metric."""
        return self.metrics.registry.get_sample_value(f"tamis_gateway_{name}", labels) or 0.0


@asynccontextmanager
async def rigged(
    cell: Cell, *targets: str, sample_ratio: float = 0.0, slow_s: float = 1.0, **settings: object
) -> AsyncIterator[Rig]:
    root = GatewayRoot(gateway=GatewayConfig(**settings))  # type: ignore[arg-type]
    rig = Rig(cell, targets, root, sample_ratio, slow_s)
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    rig.link.start()
    await asyncio.sleep(0.01)
    yield rig
    await rig.link.close()
    assert errors == []


class LogLines(logging.Handler):
    """What was logged by the gateway."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def of(self, event: str) -> list[dict[str, object]]:
        return [record.__dict__.get("fields", {}) for record in self.records if record.getMessage() == event]
