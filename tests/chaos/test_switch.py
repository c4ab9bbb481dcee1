"""tests/chaos/switch.py: what the weather lets pass, and where frames go."""

import pytest

from tests.chaos.network import around
from tests.chaos.switch import Weather, mac, targets, weather_from_json


def frame_to(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", "")) + b"rest of the frame"


def test_in_fine_weather_everything_passes_at_once() -> None:
    assert Weather().passage(1, 2, 0.0) == 0.0


@pytest.mark.parametrize(("source", "target"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_a_cut_parts_both_ways(source: int, target: int) -> None:
    weather = Weather(cuts=around([3], [1, 2, 3]))
    assert weather.passage(source, target, 0.9) is None
    assert weather.passage(1, 2, 0.9) == 0.0


def test_what_goes_to_or_comes_from_a_slow_port_is_late() -> None:
    weather = Weather(slow_ports=(2,), delay_s=0.2)
    assert [weather.passage(*way, 0.5) for way in ((1, 2), (2, 1), (1, 3))] == [0.2, 0.2, 0.0]


def test_the_unlucky_share_is_lost() -> None:
    weather = Weather(loss=0.05)
    assert weather.passage(1, 2, 0.049) is None
    assert weather.passage(1, 2, 0.05) == 0.0


def test_frames_go_to_their_port_broadcasts_to_all_others_and_strangers_nowhere() -> None:
    assert list(targets(frame_to(mac(2)), 1, 3)) == [2]
    assert list(targets(frame_to("ff:ff:ff:ff:ff:ff"), 1, 3)) == [2, 3]
    assert list(targets(frame_to(mac(9)), 1, 3)) == []
    assert list(targets(frame_to(mac(1)), 1, 3)) == []


def test_weather_travels_as_a_line() -> None:
    weather = Weather(((1, 2), (1, 3)), (4,), 0.2, 0.05)
    assert weather_from_json(weather.to_json()) == weather
    assert "\n" not in weather.to_json()
