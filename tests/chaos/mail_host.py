"""A cell as mail knows it: a real Postfix in front of the gateway, and a sink behind it for what it accepts."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.postfix import Postfix
from cli.addresses import free_port
from tests.chaos.by_smtp import BySmtp
from tests.chaos.cell import Cell
from tests.chaos.ledger import Ended, Judged
from tests.chaos.servers import sink

SETTINGS = {
    "enable_long_queue_ids": "yes",
    # Clients whom nobody takes for long are dropped by the kernel, and never hear of it.
    "default_process_limit": "400",
    # A sink that comes back must not wait for minutes.
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "2s",
    "queue_run_delay": "1s",
    "transport_retry_time": "1s",
}


class MailHost:
    """Context manager: everything runs once entered."""

    def __init__(self) -> None:
        self.cell = Cell()
        self.maker = self.cell.maker
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            folder = Path(tempfile.mkdtemp(prefix="tamis-chaos-", dir="/tmp"))
            parts.callback(shutil.rmtree, folder, ignore_errors=True)
            parts.enter_context(self.cell)
            file, port = folder / "arrivals", free_port()
            self.sink = parts.enter_context(sink(folder, file, port))
            settings = SETTINGS | {"transport_maps": f"static:smtp:[127.0.0.1]:{port}"}
            self.postfix = parts.enter_context(Postfix(self.cell.stack.milter, settings=settings))
            self.way = BySmtp(self.postfix, file)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    @property
    def whole(self) -> bool:
        """Nothing is missing."""
        return self.cell.whole and bool(self.postfix.pids)

    def ended(self) -> list[Ended]:
        """What the gateway says of its messages since the last call."""
        return self.cell.ended()

    def judged(self) -> list[Judged]:
        """What the ingresses say of their verdicts since the last call."""
        return self.cell.judged()
