import os

import pytest

from gateway.service_manager import PassedFile, ServiceManager, passed_files

OUR_PID = 4321


@pytest.fixture
def closed_on_exec(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    descriptors: list[int] = []
    monkeypatch.setattr(os, "set_inheritable", lambda descriptor, _inheritable: descriptors.append(descriptor))
    return descriptors


def test_files_come_with_their_names_and_no_child_hears_of_them(closed_on_exec: list[int]) -> None:
    environment = {"LISTEN_PID": str(OUR_PID), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "milter:tamis", "HOME": "/"}
    assert passed_files(environment, OUR_PID) == [
        PassedFile("milter", 3),
        PassedFile("tamis", 4),
        PassedFile("", 5),
    ]
    assert closed_on_exec == [3, 4, 5]
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_FDS": "2"}, {"LISTEN_PID": "1", "LISTEN_FDS": "2"}, {"LISTEN_PID": str(OUR_PID), "LISTEN_FDS": "-1"}],
)
def test_files_for_another_process_are_left_alone(environment: dict[str, str], closed_on_exec: list[int]) -> None:
    assert passed_files(environment, OUR_PID) == []
    assert closed_on_exec == []


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(OUR_PID)}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdog_is_ours_or_another_process_s(environment: dict[str, str], watchdog_s: float) -> None:
    assert ServiceManager.of_environment(environment, OUR_PID).watchdog_s == watchdog_s
    assert environment == {}


def test_without_a_manager_there_is_no_store_and_nothing_is_told() -> None:
    manager = ServiceManager.of_environment({"FDSTORE": "100"}, OUR_PID)
    assert manager.stored_files_max == 0
    manager.tell_ready("x")
    manager.store("name", [0])
    manager.forget("name")
