import pytest

from gateway.bounds import HeldBytes
from gateway.early import Stage
from gateway.session import AskEarly, AskVerdict, Close, RefuseMessage, Respond, Session, SessionRules
from gateway.transaction import Failure, Identity, Transaction
from wire.milter import constants as c
from wire.milter import events as ev
from wire.trace import TraceContext

MEBIBYTE = 1024 * 1024


def make_session(rules: SessionRules | None = None, held: HeldBytes | None = None) -> Session:
    numbers = iter(range(1, 1000))

    def identify() -> Identity:
        number = next(numbers)
        return Identity(bytes(15) + bytes([number]), TraceContext(number, number, sampled=False), 0, 0.0)

    session = Session(rules or SessionRules(MEBIBYTE), held or HeldBytes(10 * MEBIBYTE), identify)
    session.leading_space = True
    return session


def start(session: Session, **mail_macros: bytes) -> Transaction:
    session.receive(ev.Macros(c.SMFIC_CONNECT, ((b"j", b"mx.example"), (b"{daemon_name}", b"smtpd"))))
    session.receive(ev.Connect(b"client.example", c.SMFIA_INET, 2525, b"192.0.2.7"))
    session.receive(ev.Macros(c.SMFIC_HELO, ((b"{tls_version}", b"TLSv1.3"),)))
    session.receive(ev.Helo(b"client.example"))
    return mail(session, **mail_macros)


def mail(session: Session, **macros: bytes) -> Transaction:
    session.receive(ev.Macros(c.SMFIC_MAIL, tuple((b"{%b}" % key.encode(), value) for key, value in macros.items())))
    session.receive(ev.Mail(b"<anna@shop.example>", (b"SIZE=100",)))
    assert session.transaction is not None
    return session.transaction


def content(session: Session, *chunks: bytes, queue_id: bytes = b"4ABC") -> object:
    session.receive(ev.Macros(c.SMFIC_EOH, ((b"i", queue_id),)))
    session.receive(ev.EndOfHeaders())
    for chunk in chunks:
        session.receive(ev.Body(chunk))
    return session.receive(ev.EndOfBody())


def test_a_transaction_knows_client_envelope_and_content() -> None:
    session = make_session(SessionRules(MEBIBYTE, tenants={"recipient.example": "acme"}))
    transaction = start(session, auth_authen=b"anna")
    assert session.receive(ev.Recipient(b"<reader@recipient.example>", (b"NOTIFY=NEVER",))) == AskEarly(
        Stage.RCPT, transaction, 0
    )
    session.receive(ev.Header(b"Subject", b" hello"))
    assert content(session, b"one\r\n", b"two\r\n") == AskVerdict()
    client = transaction.client
    assert (client.ip, client.port, client.helo) == ("192.0.2.7", 2525, b"client.example")
    assert (client.tls_version, client.daemon_name, client.mta_name) == ("TLSv1.3", "smtpd", "mx.example")
    assert (transaction.sender, transaction.esmtp_args) == (b"anna@shop.example", (b"SIZE=100",))
    assert transaction.auth_user == b"anna"
    (recipient,) = transaction.recipients
    assert (recipient.address, recipient.esmtp_args) == (b"reader@recipient.example", (b"NOTIFY=NEVER",))
    assert recipient.tenant == "acme"
    assert transaction.header_block == b"Subject: hello\r\n"
    assert transaction.body.in_memory() == [b"one\r\n", b"two\r\n"]
    assert transaction.queue_id == "4ABC"


def test_the_header_block_is_exact_with_leading_space_and_folds() -> None:
    session = make_session()
    transaction = start(session)
    for name, value in [
        (b"DKIM-Signature", b"  v=1;\n\tb=abc"),
        (b"Subject", b"no space"),
        (b"X-8bit", b" \xe4\xff"),
        (b"X-Empty", b""),
    ]:
        session.receive(ev.Header(name, value))
    content(session)
    assert transaction.header_block == (
        b"DKIM-Signature:  v=1;\r\n\tb=abc\r\nSubject:no space\r\nX-8bit: \xe4\xff\r\nX-Empty:\r\n"
    )


def test_without_leading_space_one_is_put_after_the_colon() -> None:
    session = make_session()
    session.leading_space = False
    transaction = start(session)
    session.receive(ev.Header(b"Subject", b"hello"))
    content(session)
    assert transaction.header_block == b"Subject: hello\r\n"


def test_a_recipient_that_the_mta_refused_counts_and_is_not_asked_about() -> None:
    session = make_session()
    transaction = start(session)
    session.receive(ev.Macros(c.SMFIC_RCPT, ((b"{rcpt_mailer}", b"error"),)))
    assert session.receive(ev.Recipient(b"<nobody@recipient.example>")) is None
    session.receive(ev.Macros(c.SMFIC_RCPT, ()))
    assert session.receive(ev.Recipient(b"<reader@recipient.example>")) == AskEarly(Stage.RCPT, transaction, 1)
    assert transaction.refused == {0}


@pytest.mark.parametrize(
    "event", [ev.Abort(), ev.QuitNewConnection(), ev.Mail(b"<b@b.example>"), ev.Helo(b"again.example")]
)
def test_nothing_of_one_message_reaches_the_next(event: ev.Event) -> None:
    held = HeldBytes(10 * MEBIBYTE)
    session = make_session(held=held)
    first = start(session, auth_authen=b"anna", i=b"4FIRST")
    session.receive(ev.Recipient(b"<one@recipient.example>"))
    session.receive(ev.Header(b"X-First", b" 1"))
    session.receive(ev.EndOfHeaders())
    session.receive(ev.Body(b"first"))
    session.receive(ev.Header(b"X-Left-Over", b" 1"))
    session.receive(event)
    second = mail(session)
    session.receive(ev.Header(b"X-Second", b" 2"))
    content(session, b"second", queue_id=b"4SECOND")
    assert second is not first
    assert second.identity != first.identity
    assert (second.auth_user, second.recipients, second.queue_id) == (b"", [], "4SECOND")
    assert (second.header_block, second.body.in_memory()) == (b"X-Second: 2\r\n", [b"second"])
    session.finish()
    assert held.total == 0


@pytest.mark.parametrize("between", [[], [ev.Abort()]])
def test_a_mail_without_macros_does_not_inherit_those_of_the_last(between: list[ev.Event]) -> None:
    session = make_session()
    start(session, auth_authen=b"anna", i=b"4FIRST")
    session.finish()
    for event in between:
        session.receive(event)
    session.receive(ev.Mail(b"<b@b.example>"))
    assert session.transaction is not None
    assert (session.transaction.auth_user, session.transaction.queue_id) == (b"", "")


@pytest.mark.parametrize(
    "between", [ev.Abort(), ev.Helo(b"other.example"), ev.Unknown(b"XYZZY"), ev.Connect(b"x", c.SMFIA_UNKNOWN, 0, b"")]
)
def test_macros_of_a_mail_that_never_came_do_not_count_for_the_next(between: ev.Event) -> None:
    session = make_session()
    session.receive(ev.Macros(c.SMFIC_MAIL, ((b"{auth_authen}", b"anna"), (b"i", b"4FIRST"))))
    session.receive(between)
    session.receive(ev.Mail(b"<b@b.example>"))
    assert session.transaction is not None
    assert (session.transaction.auth_user, session.transaction.queue_id) == (b"", "")


def test_a_recipient_without_macros_does_not_inherit_the_refusal_of_the_last() -> None:
    session = make_session()
    transaction = start(session)
    session.receive(ev.Macros(c.SMFIC_RCPT, ((b"{rcpt_mailer}", b"error"),)))
    session.receive(ev.Recipient(b"<nobody@recipient.example>"))
    assert session.receive(ev.Recipient(b"<reader@recipient.example>")) == AskEarly(Stage.RCPT, transaction, 1)
    assert transaction.refused == {0}


def test_a_client_without_macros_does_not_inherit_those_of_the_last() -> None:
    session = make_session()
    start(session)
    session.receive(ev.QuitNewConnection())
    session.receive(ev.Connect(b"other.example", c.SMFIA_INET, 25, b"192.0.2.8"))
    client = mail(session).client
    assert (client.daemon_name, client.mta_name, client.tls_version) == ("", "", "")


def test_quit_nc_forgets_the_client_and_abort_does_not() -> None:
    session = make_session()
    start(session)
    session.receive(ev.Abort())
    assert mail(session).client.ip == "192.0.2.7"
    session.receive(ev.QuitNewConnection())
    assert mail(session).client.ip == ""


def test_quit_closes() -> None:
    session = make_session()
    start(session)
    assert session.receive(ev.Quit()) == Close()
    assert session.transaction is None


def test_a_message_above_the_limit_is_refused_for_good_and_not_kept() -> None:
    held = HeldBytes(10 * MEBIBYTE)
    session = make_session(SessionRules(message_bytes_max=1000), held)
    transaction = start(session)
    want = content(session, b"x" * 999, b"x" * 999)
    assert isinstance(want, RefuseMessage)
    assert want.reply == ev.ReplyCode(b"552 5.3.4 Message is too big for the mail filter")
    assert (transaction.body.in_memory(), held.total, transaction.body_bytes) == ([], 0, 1998)


@pytest.mark.parametrize(("bound", "most"), [("HEADER_BYTES_MAX", 1000), ("HEADERS_MAX", 10)])
def test_a_header_section_above_a_bound_is_refused_at_the_end_and_not_kept(
    bound: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"gateway.session.{bound}", most)
    held = HeldBytes(10 * MEBIBYTE)
    session = make_session(held=held)
    transaction = start(session)
    for _ in range(10):
        session.receive(ev.Header(b"X-A", b" " + b"x" * 93))
    assert (held.total, transaction.oversize) == (1000, False)
    session.receive(ev.Header(b"X", b""))
    assert (held.total, transaction.oversize) == (0, True)
    assert isinstance(content(session, b"x"), RefuseMessage)
    assert (transaction.header_block, transaction.body.size_bytes) == (None, 0)
    assert (transaction.header_bytes, transaction.message_bytes) == (1004, 1005)
    mail(session)
    session.receive(ev.Header(b"X", b""))
    assert content(session) == AskVerdict()


def test_what_is_kept_is_what_is_counted() -> None:
    held = HeldBytes(10 * MEBIBYTE)
    session = make_session(SessionRules(message_bytes_max=2000), held)
    transaction = start(session)
    session.receive(ev.Recipient(b"<reader@recipient.example>", (b"NOTIFY=NEVER",)))
    envelope_bytes = held.total
    assert envelope_bytes > len(b"reader@recipient.exampleNOTIFY=NEVER")
    session.receive(ev.Header(b"Subject", b" hello"))
    assert held.total == envelope_bytes + len(b"Subject: hello\r\n")
    content(session, b"x" * 2000)
    assert (transaction.oversize, transaction.header_block, transaction.body.size_bytes) == (True, None, 0)
    assert held.total == envelope_bytes
    session.finish()
    assert held.total == 0


def test_the_envelope_does_not_count_as_part_of_the_message() -> None:
    session = make_session(SessionRules(message_bytes_max=100))
    start(session)
    for number in range(10):
        session.receive(ev.Recipient(b"<%d@recipient.example>" % number))
    assert content(session, b"x" * 100) == AskVerdict()


def test_recipients_are_not_kept_beyond_what_the_gateway_may_hold() -> None:
    held = HeldBytes(1000)
    session = make_session(held=held)
    transaction = start(session)
    for number in range(10):
        assert isinstance(session.receive(ev.Recipient(b"<%d@recipient.example>" % number)), AskEarly)
    assert transaction.failure is Failure.OVERLOADED
    assert 0 < len(transaction.recipients) < 4
    assert 0 < held.total <= 1000
    assert content(session, b"x") == AskVerdict()
    session.finish()
    assert held.total == 0


def test_recipients_beyond_the_bound_are_put_off_and_the_message_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.session.RECIPIENTS_MAX", 1)
    session = make_session()
    transaction = start(session)
    assert session.receive(ev.Recipient(b"<one@recipient.example>")) == AskEarly(Stage.RCPT, transaction, 0)
    assert session.receive(ev.Recipient(b"<two@recipient.example>")) == Respond(
        ev.ReplyCode(b"452 4.5.3 Too many recipients")
    )
    assert len(transaction.recipients) == 1
    assert content(session) == AskVerdict()


def test_where_nobody_waits_at_rcpt_too_many_recipients_refuse_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.session.RECIPIENTS_MAX", 1)
    held = HeldBytes(MEBIBYTE)
    session = make_session(SessionRules(MEBIBYTE, stages=frozenset()), held)
    start(session)
    assert session.receive(ev.Recipient(b"<one@recipient.example>")) is None
    assert session.receive(ev.Recipient(b"<two@recipient.example>")) is None
    assert isinstance(content(session), RefuseMessage)
    session.finish()
    assert held.total == 0


def test_a_session_asks_at_the_stages_of_the_config_with_what_is_known() -> None:
    session = make_session(SessionRules(MEBIBYTE, stages=frozenset({Stage.CONNECT, Stage.HELO, Stage.MAIL})))
    connect = session.receive(ev.Connect(b"client.example", c.SMFIA_INET, 2525, b"192.0.2.7"))
    session.receive(ev.Macros(c.SMFIC_HELO, ((b"{cert_subject}", b"mx"), (b"{cert_issuer}", b"Our CA"))))
    helo = session.receive(ev.Helo(b"mail.client.example"))
    assert isinstance(connect, AskEarly)
    assert isinstance(helo, AskEarly)
    assert (connect.stage, connect.transaction.client.ip, connect.transaction.client.helo) == (
        Stage.CONNECT,
        "192.0.2.7",
        b"",
    )
    client = helo.transaction.client
    assert (helo.stage, client.helo, client.cert_subject, client.cert_issuer) == (
        Stage.HELO,
        b"mail.client.example",
        "mx",
        "Our CA",
    )
    assert not connect.transaction.has_mail
    assert session.transaction is None
    session.receive(ev.Macros(c.SMFIC_MAIL, ((b"{auth_authen}", b"anna"), (b"{auth_type}", b"PLAIN"))))
    mail = session.receive(ev.Mail(b"<anna@shop.example>"))
    assert isinstance(mail, AskEarly)
    assert (mail.stage, mail.transaction) == (Stage.MAIL, session.transaction)
    assert (mail.transaction.has_mail, mail.transaction.auth_type) == (True, "PLAIN")
    assert session.receive(ev.Recipient(b"<reader@recipient.example>")) is None


def test_a_message_that_does_not_fit_into_what_the_gateway_may_hold_fails_alone() -> None:
    held = HeldBytes(1500)
    small, large = make_session(held=held), make_session(held=held)
    kept, dropped = start(small), start(large)
    content(small, b"x" * 1000)
    assert content(large, b"x" * 1000) == AskVerdict()
    assert dropped.failure is Failure.OVERLOADED
    assert dropped.body.size_bytes == 0
    assert kept.failure is None
    assert held.total == 1000


def test_a_local_submission_is_internal_and_has_no_ip() -> None:
    session = make_session()
    session.receive(ev.Connect(b"localhost", c.SMFIA_UNKNOWN, 0, b""))
    assert mail(session).client.ip == ""


def test_macros_that_are_not_text_do_no_harm() -> None:
    session = make_session()
    assert start(session, i=b"\xff\x00").queue_id == "\ufffd\x00"


def test_the_macros_of_the_config_are_passed_on_as_they_hold_at_the_end() -> None:
    session = make_session(SessionRules(MEBIBYTE, macros=("level", "trusted", "long", "j")))
    transaction = start(session, level=b"1", other=b"x", long=b"v" * 257)
    session.receive(ev.Macros(c.SMFIC_BODYEOB, ((b"{trusted}", b"yes"), (b"{level}", b"2"))))
    content(session)
    assert transaction.macros == {"level": "2", "trusted": "yes", "j": "mx.example"}


def test_they_are_there_in_the_process_that_goes_on_after_a_restart() -> None:
    rules = SessionRules(MEBIBYTE, macros=("level",))
    session = make_session(rules)
    start(session, level=b"1")
    assert content(session) == AskVerdict()
    resumed = make_session(rules)
    resumed.resume(session.snapshot(AskVerdict()), None)
    assert resumed.transaction is not None
    assert resumed.transaction.macros == {"level": "1"}
