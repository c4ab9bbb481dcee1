"""Unit tests of the gateway run on a virtual clock; live ones on the loop of the product."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.gateway.rig import LogLines
from tests.gateway.virtual_time import VirtualLoop

pytest.register_assert_rewrite("tests.gateway.modelled")  # Its assertions are those of a test.


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("live"):
        return {"uvloop": uvloop.new_event_loop}
    return {"virtual": VirtualLoop}


@pytest.fixture
def lines() -> Iterator[LogLines]:
    handler = LogLines()
    logger = logging.getLogger("gateway")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
