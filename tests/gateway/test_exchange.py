from gateway.early import Stage
from gateway.exchange import VERDICT_MARGIN_S, Exchange
from gateway.transaction import Client, Identity, Recipient, Transaction
from tamis.filter.v1 import filter_service_pb2 as filter_pb
from tamis.filter.v1 import message_pb2
from wire.stream import INITIAL_BODY_CREDIT_BYTES
from wire.trace import TraceContext


def make_exchange() -> Exchange:
    transaction = Transaction(
        identity=Identity(b"i" * 16, TraceContext(1, 2, sampled=True), 5_000_000, opened_at_s=100.0),
        client=Client(ip="192.0.2.7"),
        auth_user=b"",
        direction=message_pb2.DIRECTION_INBOUND,
        tenant="",
        sender=b"a@a.example",
        esmtp_args=(b"SIZE=1",),
    )
    return Exchange(7, transaction)


def kinds(exchange: Exchange, now_s: float = 100.0) -> list[str | None]:
    return [event.WhichOneof("kind") for event, _ in exchange.take(now_s)]


def test_each_stage_is_told_once_as_it_becomes_known() -> None:
    exchange = make_exchange()
    transaction = exchange.transaction
    assert kinds(exchange) == ["begin", "mail"]
    assert kinds(exchange) == []
    transaction.recipients.append(Recipient(b"b@b.example", (), "acme"))
    assert kinds(exchange) == ["recipient"]
    transaction.header_block = b""
    assert kinds(exchange) == ["headers"]
    transaction.body.append(b"x")
    assert kinds(exchange) == ["body"]
    assert kinds(exchange) == []
    exchange.verdict_deadline_s = 120.0
    transaction.macros = {"level": "2"}
    ((end, _),) = exchange.take(100.0)
    assert dict(end.end_of_message.macros) == {"level": "2"}
    assert kinds(exchange) == []


def test_rewinding_tells_everything_again_and_only_end_of_message_has_less_time() -> None:
    exchange = make_exchange()
    exchange.transaction.recipients.append(Recipient(b"b@b.example", (), ""))
    exchange.transaction.header_block = b"A: b\r\n"
    exchange.transaction.body.append(b"x" * 10)
    exchange.verdict_deadline_s = 120.0
    first = [event for event, _ in exchange.take(100.0)]
    told_bytes = exchange.told_bytes
    exchange.rewind()
    assert exchange.told_bytes == 0
    again = [event for event, _ in exchange.take(110.0)]
    assert exchange.told_bytes == told_bytes
    assert [event.WhichOneof("kind") for event in again] == [event.WhichOneof("kind") for event in first]
    assert first[0].begin.budget_ms == again[0].begin.budget_ms
    assert again[-1].end_of_message.budget_ms == int((10.0 - VERDICT_MARGIN_S) * 1000)


def test_end_of_message_waits_until_credit_let_the_whole_body_out() -> None:
    exchange = make_exchange()
    exchange.transaction.body.append(b"a" * INITIAL_BODY_CREDIT_BYTES)
    exchange.transaction.body.append(b"b" * 10)
    exchange.verdict_deadline_s = 120.0
    assert kinds(exchange) == ["begin", "mail", "body"]
    exchange.grant(4)
    assert [event.body for event, _ in exchange.take(100.0)] == [b"bbbb"]
    exchange.grant(100)
    last = [event for event, _ in exchange.take(100.0)]
    assert last[0].body == b"bbbbbb"
    assert last[1].WhichOneof("kind") == "end_of_message"


def test_only_the_recipient_that_is_waited_for_has_a_budget() -> None:
    exchange = make_exchange()
    exchange.transaction.recipients += [Recipient(b"a@a.example", (), ""), Recipient(b"b@b.example", (b"X=Y",), "acme")]
    exchange.asked, exchange.asked_recipient, exchange.early_deadline_s = Stage.RCPT, 1, 105.0
    events = [event.recipient for event, _ in exchange.take(100.0)[2:]]
    assert [recipient.budget_ms for recipient in events] == [0, 5000]
    assert events[1].recipient == message_pb2.Recipient(address=b"b@b.example", esmtp_args=[b"X=Y"], tenant="acme")


def test_a_question_about_the_client_tells_nothing_else() -> None:
    exchange = make_exchange()
    exchange.transaction.has_mail = False
    exchange.asked, exchange.early_deadline_s = Stage.HELO, 102.0
    begin, ask = (event for event, _ in exchange.take(100.0))
    assert begin.WhichOneof("kind") == "begin"
    assert ask.ask == filter_pb.Ask(stage=message_pb2.STAGE_HELO, budget_ms=2000)
    assert kinds(exchange) == []


def test_a_question_at_mail_is_asked_anew_after_a_replay_while_it_is_open() -> None:
    exchange = make_exchange()
    exchange.asked, exchange.early_deadline_s = Stage.MAIL, 105.0
    assert kinds(exchange) == ["begin", "mail", "ask"]
    exchange.rewind()
    assert kinds(exchange) == ["begin", "mail", "ask"]
    exchange.asked = None
    exchange.rewind()
    assert kinds(exchange) == ["begin", "mail"]


def test_a_late_event_still_has_a_budget_because_zero_means_that_nobody_waits() -> None:
    exchange = make_exchange()
    exchange.verdict_deadline_s = 50.0
    assert exchange.take(100.0)[-1][0].end_of_message.budget_ms == 1


def test_begin_says_who_and_when() -> None:
    event = make_exchange().take(100.0)[0][0]
    assert event == filter_pb.Event(
        transaction=7,
        begin=filter_pb.Begin(
            transaction_id=b"i" * 16,
            budget_ms=14_400_000,
            traceparent="00-00000000000000000000000000000001-0000000000000002-01",
            client=message_pb2.Client(ip="192.0.2.7"),
            direction=message_pb2.DIRECTION_INBOUND,
            received_at_ms=5,
        ),
    )
