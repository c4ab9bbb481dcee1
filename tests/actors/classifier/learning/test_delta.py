import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.classifier.learning.bounds import SourceKind
from actors.classifier.learning.delta import Delta, DeltaError, Part, Position, decode_delta, encode_delta
from actors.classifier.learning.example import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    Example,
    ExampleError,
    Label,
    check_example,
    decode_example,
    digest_of,
    encode_example,
)
from actors.classifier.learning.layers import Layer
from actors.classifier.learning.weights import OutOfStep, Weights
from actors.model import Message
from tests.actors.classifier.learning.lessons import even, example, slots_of

SLOTS = slots_of("a few words that are taught")


def slot_bytes(*numbers: int) -> bytes:
    return np.array(numbers, "<u4").tobytes()


def test_a_delta_comes_back_as_it_went():
    delta, slots, rates = decode_delta(encode_delta(SLOTS, even(SLOTS), (Part("t:acme", -7),), ("t:old",)))
    assert (delta.parts, delta.dropped) == ((Part("t:acme", -7),), ("t:old",))
    assert np.array_equal(slots, SLOTS)
    assert np.array_equal(rates, even(SLOTS))


@pytest.mark.parametrize(
    "delta",
    [
        Delta(b"\0\0\0", b"x", (Part("s", 1),)),
        Delta(slot_bytes(5, 5), b"xx", (Part("s", 1),)),
        Delta(slot_bytes(5, 4), b"xx", (Part("s", 1),)),
        Delta(slot_bytes(1 << 20), b"x", (Part("s", 1),)),
        Delta(slot_bytes(1), b"x", (Part("x", 1),)),
        Delta(slot_bytes(1), b"x", (Part("", 1),)),
        Delta(slot_bytes(1), b"x", (Part("t:", 1),)),
        Delta(slot_bytes(1), b"x", (Part("t:" + "x" * 300, 1),)),
        Delta(slot_bytes(1), b"x", (Part("s", 32_767),)),
        Delta(slot_bytes(1), b"x", (Part("s", 1),) * 5),
        Delta(b"", b"", (), ("t:x",) * 1001),
        Delta(b"\0" * (4 << 18), b"x" * (1 << 18), (Part("s", 1),)),
    ],
)
def test_what_is_no_delta_is_refused(delta):
    with pytest.raises(DeltaError):
        decode_delta(msgspec.msgpack.encode(delta))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_delta_or_refused(data):
    with contextlib.suppress(DeltaError):
        decode_delta(data)


def test_a_delta_that_does_not_follow_is_out_of_step():
    weights = Weights(1 << 30)
    payload = encode_delta(SLOTS, even(SLOTS), (Part("s", 5),))
    first = Position().after(payload)
    with pytest.raises(OutOfStep):
        weights.apply(2, first.chain, payload)
    with pytest.raises(OutOfStep):
        weights.apply(1, "00" * 16, payload)
    weights.apply(1, first.chain, payload)
    with pytest.raises(OutOfStep):
        weights.apply(1, first.chain, payload)
    assert weights.position == first


def test_a_damaged_delta_is_passed_over_by_everybody():
    weights = Weights(1 << 30)
    after = Position().after(b"garbage")
    weights.apply(1, after.chain, b"garbage")
    assert (weights.position, weights.unread, weights.layers) == (after, 1, {})


@pytest.mark.parametrize("text", ["", "x", "-1 ", "1 00", "1 zz", "1" * 16 + " ", "²"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Position.from_text(text)
    position = Position().after(b"x")
    assert Position.from_text(position.to_text()) == position
    assert Position.from_text(Position().to_text()) == Position()


@pytest.mark.parametrize(
    ("name", "data"), [("s", b""), ("s", b"0" * 16 + b"\0" * 4), ("q", b"0" * 16), ("t:x", b"x" * 16 + b"\0" * 65_536)]
)
def test_what_is_no_snapshot_is_refused(name, data):
    with pytest.raises(ValueError, match="snapshot"):
        Layer.from_bytes(name, data)


def test_a_snapshot_comes_back_as_it_went():
    layer = Layer.empty("t:x")
    layer.add(SLOTS, even(SLOTS), -12, 34)
    again = Layer.from_bytes("t:x", layer.to_bytes())
    assert again.taught == 34
    assert np.array_equal(again.table, layer.table)
    again.add(SLOTS, even(SLOTS), 12, 35)  # It can be written.
    assert not again.table.any()


def test_a_message_is_known_by_author_subject_and_text_not_by_recipient_or_line_ends():
    text = Message(header_block=b"From: A <a@b>\r\nSubject: x\r\n y\r\nTo: c@d\r\n", body=b"one\r\ntwo\r\n\r\n")
    same = Message(header_block=b"Received: z\r\nSubject: x y\r\nFrom: A <a@b>\r\nTo: e@f\r\n", body=b"one\ntwo\n")
    assert digest_of(text) == digest_of(same)
    for other in (b"From: A <a@b>\r\nSubject: xz\r\n", b"From: x\r\nSubject: x y\r\n", b"Subject: x y\r\n"):
        assert digest_of(Message(header_block=other, body=text.body)) != digest_of(text)
    assert digest_of(Message(header_block=text.header_block, body=b"one\r\ntwO")) != digest_of(text)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"header_block": b"", "body": b""}, "empty"),
        ({"header_block": b"x" * (HEADER_BYTES_MAX + 1)}, "header section"),
        ({"body": b"x" * (BODY_BYTES_MAX + 1)}, "body"),
        ({"source": ""}, "source"),
        ({"source": "a\nb"}, "source"),
        ({"kind": SourceKind.USER}, "without saying who"),
        ({"kind": SourceKind.TENANT}, "without saying which"),
        ({"kind": SourceKind.TRAP, "label": Label.HAM}, "trap"),
        ({"tenant": "a/b"}, "tenant"),
        ({"user": b"x" * 600}, "user"),
        ({"at_s": float("nan")}, "time"),
    ],
)
def test_what_cannot_be_learnt_says_why(change, complaint):
    with pytest.raises(ExampleError, match=complaint):
        check_example(msgspec.structs.replace(example("text"), **change))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_example_or_refused(data):
    with contextlib.suppress(ExampleError):
        decode_example(data)


def test_an_example_comes_back_as_it_went_and_does_not_show_its_mail():
    one = example("secret words", user="a@b", tenant="acme")
    assert decode_example(encode_example(one)) == one
    assert isinstance(one, Example)
    assert "secret" not in repr(one)
