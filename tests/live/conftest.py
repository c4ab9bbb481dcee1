"""One running Tamis and one Postfix for all live tests of this folder: starting them is what costs time."""

from collections.abc import Iterator

import pytest

from bench.postfix import Postfix, why_not
from bench.samples import SampleMaker
from bench.stack import Stack, StackOptions
from tests.conftest import skip_or_fail


@pytest.fixture(scope="session")
def maker() -> SampleMaker:
    return SampleMaker()


@pytest.fixture(scope="session")
def tamis(maker: SampleMaker) -> Iterator[Stack]:
    with Stack(maker.zone(), StackOptions(sample_ratio=1.0)) as stack:
        yield stack


@pytest.fixture(scope="session")
def postfix(tamis: Stack) -> Iterator[Postfix]:
    reason = why_not()
    if reason:
        skip_or_fail(reason)
    with Postfix(tamis.milter) as server:
        yield server
