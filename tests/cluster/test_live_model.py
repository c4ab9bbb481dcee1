"""A real cell whose classifiers get another model under load: bad files, a bad one, a good one, and back."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.classifier.comparison import comparisons
from actors.classifier.model import SHIPPED_MODEL, load, version_of
from bench.local_ray import start_ray
from cluster.config import Pools
from cluster.node import Node
from tamis.admin.v1 import cell_pb2
from tamis.filter.v1 import message_pb2
from tests.actors.classifier.test_actor import HAM
from tests.cluster.test_live_rollout import LiveCell, Load, live_cell, names

pytestmark = pytest.mark.ray
POOLS = "[cluster.pools]\ndkim = 0\npolicy = 0\nclassifier = 2\nantivirus = 0\n"
CANARY = "[cluster.canary]\nmessages = 300\n"
SHIPPED = version_of(load(SHIPPED_MODEL)[1])


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tamis-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def live(directory: Path) -> Iterator[LiveCell]:
    node = Node()
    try:
        start_ray(node, directory)
        with live_cell(node, directory, Pools(dkim=0, policy=0, classifier=2, antivirus=0)) as cell:
            yield cell
    finally:
        node.stop()


def variant(directory: Path, name: str, **card: object) -> Path:
    """The shipped model under another name, with these values in its card."""
    path = directory / f"{name}.safetensors"
    shutil.copy(SHIPPED_MODEL, path)
    values = msgspec.json.decode(SHIPPED_MODEL.with_suffix(".json").read_bytes())
    path.with_suffix(".json").write_bytes(msgspec.json.encode(values | card))
    return path


def truncated(directory: Path) -> Path:
    path = variant(directory, "truncated")
    path.write_bytes(path.read_bytes()[:100_000])
    return path


def foreign(directory: Path) -> Path:
    return variant(directory, "foreign", format="rspamd/3")


def mailing(live: LiveCell) -> Load:
    return Load(live.address, message=message_pb2.Message(header_block=HAM.header_block, body=HAM.body))


def with_model(path: Path, more: str = "") -> str:
    return f'{POOLS}{CANARY}[classifier]\nmodel = "{path}"\n{more}'


def models(cell: Any) -> set[str]:
    return {process.model for process in cell.processes if process.actors}


@pytest.mark.parametrize(
    ("make", "said"),
    [(truncated, "is not the file that its card describes"), (foreign, "format 'rspamd/3'")],
    ids=["truncated", "foreign"],
)
def test_a_model_file_that_cannot_be_used_stops_the_rollout_and_the_old_model_answers(
    live: LiveCell, directory: Path, make: Callable[[Path], Path], said: str
) -> None:
    before = names(live.status())
    with mailing(live) as load_:
        live.apply(with_model(make(directory)))
        problem = live.until_rolled(cell_pb2.ROLLOUT_STATE_STOPPED).rollout.problem
        cell = live.until(lambda cell: names(cell) == before and cell.ready)
        time.sleep(0.5)
    assert "ModelError" in problem
    assert said in problem
    assert models(cell) == {SHIPPED}
    assert (load_.lost, load_.degraded) == (0, 0)
    assert set(load_.said) == {(SHIPPED, "ham")}


def test_a_model_that_calls_everything_spam_is_stopped_after_its_first_replica(live: LiveCell, directory: Path) -> None:
    eager = variant(directory, "eager", threshold=0.0)
    before = names(live.status())
    with mailing(live) as load_:
        live.apply(with_model(eager))
        cell = live.until_rolled(cell_pb2.ROLLOUT_STATE_STOPPED)
        assert ": spam: 100.0% of " in cell.rollout.problem
        live.until(lambda cell: names(cell) == before and cell.ready)
    bad = (version_of(load(eager)[1]), "spam")
    assert set(load_.said) == {(SHIPPED, "ham"), bad}
    assert load_.said[bad] >= 50
    assert (load_.lost, load_.degraded) == (0, 0)
    with mailing(live) as load_:
        time.sleep(1)
    assert set(load_.said) == {(SHIPPED, "ham")}, "the old model has all mail again"


def test_a_good_model_is_watched_then_everywhere_and_one_command_brings_the_old_one_back(
    live: LiveCell, directory: Path
) -> None:
    good = variant(directory, "good", threshold=0.51)
    version = version_of(load(good)[1])
    with mailing(live) as load_:
        live.apply(with_model(good))
        cell = live.until(lambda cell: bool(cell.rollout.watching))
        assert models(cell) == {SHIPPED, version}
        cell = live.until_rolled(cell_pb2.ROLLOUT_STATE_DONE)
        assert models(cell) == {version}
        live.roll_back()
        cell = live.until_rolled(cell_pb2.ROLLOUT_STATE_DONE)
        assert models(cell) == {SHIPPED}
    assert set(load_.said) == {(SHIPPED, "ham"), (version, "ham")}
    assert (load_.lost, load_.degraded) == (0, 0)


def test_a_shadow_is_counted_in_all_replicas_and_is_in_no_verdict(live: LiveCell, directory: Path) -> None:
    eager = variant(directory, "shadow", threshold=0.0)
    live.apply(f'{POOLS}{CANARY}[classifier]\nshadow_model = "{eager}"\nshadow_share = 0.5\n')
    live.until_rolled(cell_pb2.ROLLOUT_STATE_DONE)
    with mailing(live) as load_:
        time.sleep(2)
    ((pair, seen),) = comparisons(live.status().counters).items()
    assert pair == (SHIPPED, version_of(load(eager)[1]))
    assert seen.only_shadow_spam == seen.messages
    assert 0.3 < seen.messages / load_.verdicts < 0.7
    assert set(load_.said) == {(SHIPPED, "ham")}
