"""Large bodies on the ingress's side: no failure of Ray's gets out, and room is only free when the object is."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

import pytest
import ray
from ray.exceptions import ObjectStoreFullError, RayActorError, RayError

from cluster.object_store import ObjectStoreBodies, StoredBody

BODY = b"x" * 60


class FakeReplica:
    """A replica's handle whose `hold_body` is answered when the test says so."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.answers: list[asyncio.Future[None]] = []
        self.hold_body = self
        self.refuses = False

    def remote(self, body_id: bytes, reference: object) -> Awaitable[None]:
        del reference
        if self.refuses:
            raise RayError("submission failed")
        self.held.append(body_id)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> FakeReplica:
    monkeypatch.setattr(ray, "put", lambda body: ("reference", body))
    return FakeReplica()


def stocked(replica: FakeReplica) -> ObjectStoreBodies:
    bodies = ObjectStoreBodies(threshold_bytes=10, room_bytes=100)
    bodies.know({"dkim-0": replica})
    return bodies


def shared(bodies: ObjectStoreBodies) -> StoredBody:
    stored = bodies.share(BODY)
    assert stored is not None
    return stored


def failing(error: Exception) -> Callable[[bytes], object]:
    def put(_body: bytes) -> object:
        raise error

    return put


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_small_bodies_and_those_without_room_are_not_shared(replica: FakeReplica) -> None:
    bodies = stocked(replica)
    assert bodies.share(b"small") is None
    kept = shared(bodies)
    assert bodies.share(BODY) is None
    del kept
    assert bodies.share(BODY) is not None


@pytest.mark.parametrize("error", [ObjectStoreFullError("full"), RayError("raylet is gone"), OSError("plasma")])
async def test_a_store_that_fails_shares_nothing_and_says_so_once(
    replica: FakeReplica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    bodies = stocked(replica)
    works = ray.put
    caplog.set_level(logging.INFO, "cluster.object_store")
    monkeypatch.setattr(ray, "put", failing(error))
    assert [bodies.share(BODY) for _ in range(3)] == [None, None, None]
    assert caplog.messages == [f"object_store works=False error={type(error).__name__}"]
    monkeypatch.setattr(ray, "put", works)
    assert bodies.share(BODY) is not None
    assert caplog.messages[1:] == ["object_store works=True error=NoneType"]


async def test_a_store_that_hangs_holds_the_loop_up_once_and_for_a_moment(
    replica: FakeReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, raylet, puts = ray.put, threading.Event(), []

    def put(body: bytes) -> object:
        puts.append(body)
        raylet.wait(10)
        return works(body)

    monkeypatch.setattr(ray, "put", put)
    bodies = ObjectStoreBodies(threshold_bytes=10, room_bytes=100, patience_s=0.001)
    bodies.know({"dkim-0": replica})
    assert [bodies.share(BODY) for _ in range(3)] == [None, None, None]
    assert len(puts) == 1, "the others did not even try"
    raylet.set()
    assert any(bodies.share(BODY) is not None for _ in range(1_000_000)), "it has come back"


async def test_handing_a_body_to_a_replica_that_nobody_knows_raises_nothing(replica: FakeReplica) -> None:
    shared(stocked(replica)).hand_to("dkim-9")


async def test_a_call_that_cannot_be_submitted_raises_nothing_and_holds_no_room(replica: FakeReplica) -> None:
    bodies = stocked(replica)
    replica.refuses = True
    stored = shared(bodies)
    stored.hand_to("dkim-0")
    del stored
    assert bodies.share(BODY) is not None


async def test_room_comes_back_only_when_the_replica_has_taken_the_body(replica: FakeReplica) -> None:
    bodies = stocked(replica)
    stored = shared(bodies)
    stored.hand_to("dkim-0")
    stored.hand_to("dkim-0")
    await settle()
    del stored
    assert bodies.share(BODY) is None, "the object is pinned by calls that are still out"
    replica.answers[0].set_result(None)
    await settle()
    assert bodies.share(BODY) is None, "one call is still out"
    replica.answers[1].set_result(None)
    await settle()
    assert bodies.share(BODY) is not None


async def test_a_replica_that_died_with_the_call_gives_the_room_back(replica: FakeReplica) -> None:
    bodies = stocked(replica)
    stored = shared(bodies)
    stored.hand_to("dkim-0")
    await settle()
    del stored
    replica.answers[0].set_exception(RayActorError())
    await settle()
    assert bodies.share(BODY) is not None


async def test_room_stays_taken_while_the_transaction_may_hand_the_body_out_again(replica: FakeReplica) -> None:
    bodies = stocked(replica)
    stored = shared(bodies)
    stored.hand_to("dkim-0")
    replica.answers[0].set_result(None)
    await settle()
    assert bodies.share(BODY) is None
    del stored
    assert bodies.share(BODY) is not None


async def test_a_replica_of_a_new_table_replaces_the_one_of_the_same_name(replica: FakeReplica) -> None:
    bodies = stocked(replica)
    reborn = FakeReplica()
    bodies.know({"dkim-0": reborn})
    stored = shared(bodies)
    stored.hand_to("dkim-0")
    assert (replica.held, reborn.held) == ([], [stored.body_id])
