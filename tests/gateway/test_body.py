from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway.body import FETCH_BYTES, Body
from gateway.exchange import Exchange
from tests.gateway.test_exchange import make_exchange
from wire.stream import INITIAL_BODY_CREDIT_BYTES


class FakeFile:
    """A file that answers when the test says so."""

    def __init__(self) -> None:
        self.content = b""
        self.readable = True
        self.closed = False
        self.waiting: list[Callable[[], None]] = []

    def read(self, offset: int, size_bytes: int, done: Callable[[bytes | None], None]) -> None:
        window = self.content[offset : offset + size_bytes] if self.readable else None
        self.waiting.append(lambda: done(window))

    def close(self) -> None:
        self.closed = True

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, []
        for answer in waiting:
            answer()


def move(body: Body, file: FakeFile, count: int | None = None) -> None:
    chunks = body.in_memory()[:count]
    body.file = file
    file.content += b"".join(chunks)
    body.moved(len(chunks))


def made(*chunks: bytes) -> Body:
    body = Body()
    for chunk in chunks:
        body.append(chunk)
    return body


def test_pieces_are_as_large_as_they_came_unless_less_is_wanted() -> None:
    body = made(b"abc", b"defg")
    assert body.piece(0, 100) == b"abc"
    assert body.piece(3, 100) == b"defg"
    assert body.piece(4, 2) == b"ef"
    assert body.piece(0, 1) == b"a"
    assert (body.size_bytes, body.memory_bytes) == (7, 7)


def test_what_went_to_disk_is_no_longer_in_memory_and_must_be_fetched() -> None:
    body, file = made(b"abc", b"defg"), FakeFile()
    move(body, file)
    body.append(b"hi")
    assert (body.size_bytes, body.stored_bytes, body.memory_bytes, body.in_memory()) == (9, 7, 2, [b"hi"])
    assert body.piece(7, 100) == b"hi"
    assert body.piece(2, 100) is None
    told: list[bytes | None] = []
    body.fetch(2, lambda: told.append(body.piece(2, 100)))
    body.fetch(0, lambda: told.append(b"a second read at the same time"))
    file.answer()
    assert told == [b"cdefg"]


def test_a_window_is_dropped_when_it_has_been_read() -> None:
    body, file = made(b"x" * (FETCH_BYTES + 5)), FakeFile()
    move(body, file)
    body.fetch(0, lambda: None)
    file.answer()
    assert len(body.piece(0, 10) or b"") == 10
    assert len(body.piece(10, FETCH_BYTES) or b"") == FETCH_BYTES - 10
    assert body.piece(0, 10) is None


def test_a_released_body_is_empty_and_hears_nothing_more() -> None:
    body, file = made(b"abc"), FakeFile()
    move(body, file)
    called: list[bool] = []
    body.fetch(0, lambda: called.append(True))
    body.release()
    file.answer()
    body.moved(1)
    assert (body.size_bytes, body.stored_bytes, file.closed, called) == (0, 0, True, [])


def test_a_file_that_cannot_be_read_makes_the_body_unreadable() -> None:
    body, file = made(b"abc"), FakeFile()
    move(body, file)
    file.readable = False
    body.fetch(0, lambda: None)
    file.answer()
    assert body.unreadable


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=9),
    moves=st.lists(st.integers(0, 9), max_size=3),
    wants=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 12)), max_size=9),
)
def test_any_piece_is_what_was_appended_wherever_it_lies(
    chunks: list[bytes], moves: list[int], wants: list[tuple[int, int]]
) -> None:
    whole, body, file = b"".join(chunks), made(*chunks), FakeFile()
    for count in moves:
        move(body, file, count)
    for wanted, bytes_max in wants:
        offset = wanted % len(whole)
        piece = body.piece(offset, bytes_max)
        if piece is None:
            body.fetch(offset, lambda: None)
            file.answer()
            piece = body.piece(offset, bytes_max)
        assert piece
        assert len(piece) <= bytes_max
        assert whole[offset : offset + len(piece)] == piece


def told(exchange: Exchange) -> bytes:
    return b"".join(event.body for event, _ in exchange.take(100.0))


def test_the_exchange_waits_for_what_is_on_disk_and_goes_on_in_order() -> None:
    exchange, file = make_exchange(), FakeFile()
    body = exchange.transaction.body
    body.append(b"a" * 10)
    move(body, file)
    body.append(b"b" * INITIAL_BODY_CREDIT_BYTES)
    exchange.verdict_deadline_s = 120.0
    assert told(exchange) == b""
    assert exchange.starved
    exchange.fetch(lambda: None)
    file.answer()
    assert told(exchange) == b"a" * 10 + b"b" * (INITIAL_BODY_CREDIT_BYTES - 10)
    assert not exchange.starved
    exchange.grant(100)
    last = [event for event, _ in exchange.take(100.0)]
    assert last[0].body == b"b" * 10
    assert last[1].WhichOneof("kind") == "end_of_message"
