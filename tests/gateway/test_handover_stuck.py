"""A service manager that gets stuck in the middle of a handover costs no session that it has, or that we have."""

import socket

import pytest

from gateway import handover
from gateway.runtime import Gateway
from gateway.service_manager import ManagerStuck, PassedFile
from tests.gateway.fake_ingress import Cell, FakeIngress
from tests.gateway.rig import LogLines, rigged

pytestmark = pytest.mark.live


class Manager:
    """Takes files until it is stuck."""

    stored_files_max = 1000

    def __init__(self, stores: int = 1000) -> None:
        self.stores = stores
        self.kept: list[str] = []

    def store(self, name: str, _descriptors: object) -> None:
        if name == handover.SESSIONS and self.stores == 0:
            raise ManagerStuck("FDSTORE: no buffer space")
        self.stores -= name == handover.SESSIONS
        self.kept.append(name)

    def barrier(self) -> None:
        self.kept.append("barrier")

    def forget(self, _name: str) -> None:
        raise ManagerStuck("FDSTOREREMOVE: timed out")


def test_sessions_are_taken_over_although_the_store_does_not_forget_them(lines: LogLines) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        found = list(handover.take_over([PassedFile(handover.SESSIONS, ours.detach())], Manager()))  # type: ignore[arg-type]
        assert [str(incoming.saved) for incoming in found] == ["no state came with it"]
        found[0].connection.send(b"alive")
        assert theirs.recv(10) == b"alive"
        found[0].connection.close()
    assert [line["why"] for line in lines.of("takeover_failed")] == ["FDSTOREREMOVE: timed out"]


async def test_the_states_of_the_sessions_that_were_given_are_stored_when_the_next_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, lines: LogLines
) -> None:
    monkeypatch.setattr(handover, "FILES_PER_MESSAGE", 1)
    async with rigged(Cell(a=FakeIngress())) as rig:
        pairs = [socket.socketpair() for _ in range(2)]
        for ours, _ in pairs:
            await rig.connect().open()
            monkeypatch.setattr(rig.transports[-1], "get_extra_info", lambda _name, _default=None, ours=ours: ours)
        manager = Manager(stores=1)
        gateway = Gateway.__new__(Gateway)
        gateway._manager, gateway._server = manager, rig.server  # type: ignore[assignment]
        await gateway._hand_over()
        assert manager.kept == [handover.SESSIONS, handover.SNAPSHOT, "barrier"]
        assert rig.server.count == 1
        for pair in pairs:
            for end in pair:
                end.close()
    assert [line["why"] for line in lines.of("handover_failed")] == ["FDSTORE: no buffer space"]
