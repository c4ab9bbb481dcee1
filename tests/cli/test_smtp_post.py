import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from actors.reports.config import SmtpTls
from actors.reports.delivery import PostError
from cli.addresses import free_port
from cli.smtp_post import SmtpPost
from tests.certificates import Authority

pytestmark = pytest.mark.live


class Sink:
    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.on_mail: Callable[[], None] = lambda: None

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, to: str, _: list[str]) -> str:  # noqa: N802  aiosmtpd
        if to.startswith("nobody"):
            return "550 nobody\x07here"
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, _envelope: Envelope) -> str:  # noqa: N802  aiosmtpd
        self.sessions.append(session)
        self.on_mail()
        return "250 kept"


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[tuple[Sink, int]]:
    """It offers STARTTLS with a certificate that nobody knows, for localhost."""
    files = Authority().issue(tmp_path / "tls", "relay", "127.0.0.9")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    handler, port = Sink(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True)
    controller.start()
    yield handler, port
    controller.stop()


@pytest.fixture
def plain() -> Iterator[tuple[Sink, int]]:
    """It offers no STARTTLS, and takes mail of 2,000 bytes."""
    handler, port = Sink(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port, data_size_limit=2000)
    controller.start()
    yield handler, port
    controller.stop()


async def send(port: int, tls: SmtpTls, mail: bytes = b"\r\n", host: str = "127.0.0.1") -> None:
    post = SmtpPost(host, port, "mx.example", tls, 5.0)
    try:
        await post.send("a@mx.example", "d@example.org", mail)
    finally:
        post.close()


async def test_without_encryption_mail_leaves_only_where_that_is_allowed(plain: tuple[Sink, int]) -> None:
    handler, port = plain
    await send(port, SmtpTls.MAY)
    assert len(handler.sessions) == 1
    for tls in (SmtpTls.ENCRYPT, SmtpTls.VERIFY):
        with pytest.raises(PostError, match="no STARTTLS"):
            await send(port, tls)
    assert len(handler.sessions) == 1


async def test_a_certificate_is_looked_at_only_where_that_is_wanted(sink: tuple[Sink, int]) -> None:
    handler, port = sink
    await send(port, SmtpTls.ENCRYPT)
    with pytest.raises(PostError, match="certificate"):
        await send(port, SmtpTls.VERIFY)
    assert len(handler.sessions) == 1


async def test_a_certificate_that_this_machine_trusts_is_good_for_its_own_name_alone(
    sink: tuple[Sink, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, port = sink
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls" / "ca.pem"))
    await send(port, SmtpTls.VERIFY, host="localhost")
    assert len(handler.sessions) == 1
    with pytest.raises(PostError, match="IP address mismatch"):
        await send(port, SmtpTls.VERIFY)


async def test_a_mail_that_is_longer_than_the_server_takes_is_a_refusal(plain: tuple[Sink, int]) -> None:
    handler, port = plain
    with pytest.raises(PostError, match="552"):
        await send(port, SmtpTls.MAY, b"x" * 3000)
    assert not handler.sessions


async def test_mail_leaves_encrypted_over_one_connection(sink: tuple[Sink, int]) -> None:
    handler, port = sink
    post = SmtpPost("127.0.0.1", port, "mx.example", SmtpTls.MAY, 5.0)
    await post.send("a@mx.example", "d@example.org", b"Subject: x\r\n\r\ntext\r\n")
    await post.send("a@mx.example", "e@example.org", b"Subject: y\r\n\r\ntext\r\n")
    post.close()
    assert handler.sessions[0] is handler.sessions[1]
    assert handler.sessions[0].ssl is not None


async def test_the_answer_to_a_mail_is_waited_for_as_long_as_rfc_5321_says(sink: tuple[Sink, int]) -> None:
    handler, port = sink
    post = SmtpPost("127.0.0.1", port, "mx.example", SmtpTls.MAY, 5.0)
    waits: list[float | None] = []

    def look() -> None:
        assert post._server is not None
        assert post._server.sock is not None
        waits.append(post._server.sock.gettimeout())

    handler.on_mail = look
    await post.send("a@mx.example", "d@example.org", b"\r\n")
    look()
    post.close()
    assert waits == [600.0, 5.0]


async def test_a_connection_that_the_server_ended_is_made_anew(sink: tuple[Sink, int]) -> None:
    handler, port = sink
    post = SmtpPost("127.0.0.1", port, "mx.example", SmtpTls.MAY, 5.0)
    await post.send("a@mx.example", "d@example.org", b"\r\n")
    assert post._server is not None
    assert post._server.sock is not None
    post._server.sock.shutdown(2)
    await post.send("a@mx.example", "d@example.org", b"\r\n")
    post.close()
    assert len(handler.sessions) == 2
    assert handler.sessions[0] is not handler.sessions[1]


async def test_a_refusal_is_told_on_one_line_and_the_next_mail_leaves(sink: tuple[Sink, int]) -> None:
    handler, port = sink
    post = SmtpPost("127.0.0.1", port, "mx.example", SmtpTls.MAY, 5.0)
    with pytest.raises(PostError) as told:
        await post.send("a@mx.example", "nobody@example.org", b"\r\n")
    assert str(told.value) == "550 nobody here"
    await post.send("a@mx.example", "d@example.org", b"\r\n")
    post.close()
    assert len(handler.sessions) == 1


async def test_without_a_server_it_is_told_why() -> None:
    with pytest.raises(PostError, match="refused"):
        await SmtpPost("127.0.0.1", free_port(), "mx.example", SmtpTls.MAY, 5.0).send(
            "a@b.example", "c@d.example", b"\r\n"
        )
