"""bench/sockets.py: what `ss` says, added up."""

import pytest

from bench import sockets

LINES = [
    '0 0 127.0.0.1:10 127.0.0.1:20 users:(("ray::Ingress",pid=1,fd=3)) cubic bytes_sent:100 bytes_received:7',
    '0 0 127.0.0.1:20 127.0.0.1:10 users:(("ray::HostProces",pid=2,fd=3)) cubic bytes_sent:7 bytes_received:100',
    '0 0 127.0.0.2:30 127.0.0.1:40 users:(("ray::Ingress",pid=3,fd=3)) cubic bytes_sent:1000 bytes_received:50',
    '0 0 [::ffff:127.0.0.1]:40 [::ffff:127.0.0.2]:30 users:(("raylet",pid=2,fd=3)) cubic bytes_sent:50',
    '0 0 127.0.0.1:50 127.0.0.1:60 users:(("python",pid=9,fd=3)) cubic bytes_sent:5000',
]


def test_only_what_goes_from_one_group_to_another_is_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_connections", lambda: LINES)
    assert sockets.bytes_between([{1, 2}, {3}]) == 1050


def test_bytes_are_those_of_processes_by_name_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_connections", lambda: LINES)
    assert sockets.bytes_by_process(("ray::Ingress",)) == {1: 107, 3: 1050}
    assert sockets.bytes_by_process(("ray::",), port=20) == {2: 107}
