"""A real Postfix, the gateway process as shipped, and an ingress and a trace receiver that the test plays."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from bench.otlp_receiver import OtlpReceiver, ReceivedSpan
from bench.postfix import Postfix, why_not
from tests.conftest import skip_or_fail
from tests.gateway.fake_ingress import FakeIngress, go_on, let_in, serve, verdict
from tests.gateway.test_live import Gateway, gateway

T = TypeVar("T")
SETTINGS = """
[gateway.early]
stages = ["connect", "helo", "mail", "rcpt"]
[trace]
sample_ratio = 1.0
otlp_endpoint = "{endpoint}"
"""


@dataclass
class Filtered:
    """What runs; the test scripts `ingress`."""

    postfix: Postfix
    gateway: Gateway
    ingress: FakeIngress
    receiver: OtlpReceiver

    def reset(self) -> None:
        """Accept everything again and forget what was heard."""
        self.ingress.judge, self.ingress.recipient, self.ingress.stage = verdict(), let_in, go_on
        for heard in (self.ingress.asked, self.ingress.judged, self.ingress.aborted, self.receiver.spans):
            heard.clear()

    def span(self, queue_id: str) -> ReceivedSpan:
        """The gateway's span of this queue id, once it was exported."""
        return eventually(
            lambda: next((s for s in self.receiver.spans if s.attributes["mail.queue_id"] == queue_id), None)
        )

    def line(self, event: str, **facts: str) -> dict[str, object]:
        """The latest line of the gateway's log with these facts, once it is there."""
        return eventually(
            lambda: next((one for one in reversed(self.gateway.lines(event)) if facts.items() <= one.items()), None)
        )


def eventually(look: Callable[[], T | None], timeout_s: float = 10.0) -> T:
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def running() -> Iterator[Filtered]:
    if why_not():
        skip_or_fail(why_not())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ingress, receiver = FakeIngress(), OtlpReceiver()

    async def start() -> tuple[object, str, str]:
        return *(await serve(ingress)), await receiver.start()

    async def stop(server: object) -> None:
        await server.stop(None)  # type: ignore[attr-defined]
        await receiver.stop()

    server, target, endpoint = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    directory = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
    try:
        with (
            gateway(directory, target, settings=SETTINGS.format(endpoint=endpoint)) as process,
            Postfix(process.milter[0]) as postfix,
        ):
            yield Filtered(postfix, process, ingress, receiver)
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def filtered(running: Filtered) -> Filtered:
    running.reset()
    return running
