"""Mail to one SMTP server (RFC 5321), over one connection as long as it lasts; to be asked for one mail at a time.

The server is the operator's own relay, so by default nothing is asked of its certificate, as between mail servers
(RFC 7435), and mail leaves also if it offers no STARTTLS (RFC 3207). A server that tells how much it takes (RFC 1870)
refuses a longer mail before it is sent.
"""

import asyncio
import contextlib
import smtplib
import ssl
from typing import Any

from actors.reports.config import SmtpTls
from actors.reports.delivery import PostError

ANSWER_S = 300.0
"""The longest that RFC 5321 section 4.5.3.2 wants a client to wait at least for the answer to a command."""
LAST_ANSWER_S = 600.0
"""For the answer to the final dot (section 4.5.3.2.6): who goes away before has the mail delivered twice."""
_WHY_CHARS_MAX = 200


class _Server(smtplib.SMTP):
    """Waits longer for the answer to a message than for those to commands."""

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Send the message. Raises SMTPDataError for a server that does not want to have it."""
        if self.sock is not None:
            self.sock.settimeout(LAST_ANSWER_S)
        answer = super().data(msg)
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
        return answer


class SmtpPost:
    """Implements `Post` of actors/reports/delivery.py."""

    def __init__(self, host: str, port: int, helo: str, tls: SmtpTls, answer_s: float = ANSWER_S) -> None:
        self._tls = tls
        self._host = host
        self._port = port
        self._helo = helo
        self._answer_s = answer_s
        self._server: _Server | None = None

    async def send(self, sender: str, recipient: str, mail: bytes) -> None:
        """Hand one message over. Raises PostError."""
        await asyncio.to_thread(self._send, sender, recipient, mail)

    def close(self) -> None:
        """End the connection."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()

    def _send(self, sender: str, recipient: str, mail: bytes) -> None:
        try:
            self._open().sendmail(sender, [recipient], mail)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise PostError(_why(error)) from error

    def _open(self) -> _Server:
        """The connection, or a new one: looking up the next destination may take longer than servers wait."""
        if self._server is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._server.noop()
                return self._server
            self.close()
        return self._connected()

    def _connected(self) -> _Server:
        server = _Server(self._host, self._port, self._helo, self._answer_s)
        self._server = server
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=self._context())
            server.ehlo()
        elif self._tls is not SmtpTls.MAY:
            raise smtplib.SMTPException(f"{self._host} offers no STARTTLS: [dmarc_report] smtp_tls")
        return server

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._tls is not SmtpTls.VERIFY:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _why(error: Exception) -> str:
    """One line; what a server says is text of a stranger."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        (code, answer), *_ = error.recipients.values()
        text = f"{code} {_text(answer)}"
    elif isinstance(error, smtplib.SMTPResponseException):
        text = f"{error.smtp_code} {_text(error.smtp_error)}"
    else:
        text = str(error) or type(error).__name__
    return "".join(char if char.isprintable() else " " for char in text[:_WHY_CHARS_MAX])


def _text(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
