"""The bytes of a frame: what the protobuf runtime would write, without its detour."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.dial import encode_request
from tamis.filter.v1 import filter_service_pb2 as filter_pb

EVENTS = st.lists(
    st.builds(filter_pb.Event, transaction=st.integers(0, 2**64 - 1), body=st.binary(max_size=300)), max_size=5
)


@given(EVENTS)
def test_a_frame_is_a_request_of_its_events(events: list[filter_pb.Event]) -> None:
    assert encode_request(events) == filter_pb.FilterRequest(events=events).SerializeToString()


def test_large_bodies_have_lengths_of_several_octets() -> None:
    for body_bytes in (127, 128, 16_383, 16_384, 300_000, 3_000_000):
        events = [filter_pb.Event(transaction=1, body=b"x" * body_bytes)] * 2
        assert encode_request(events) == filter_pb.FilterRequest(events=events).SerializeToString()
