"""A real Postfix on loopback in a directory of its own, with a sink behind it: for the real-MTA tests and acceptance.

Needs root (Postfix switches users) and Debian's `postfix`. Mail for recipient.example goes to the sink, an SMTP server
in this process. XCLIENT is allowed from loopback, so a test may say which client it plays.
"""

import os
import shutil
import smtplib
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from cli.addresses import free_port

POSTFIX = "/usr/sbin/postfix"
START_TIMEOUT_S = 20.0

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/mail.log
maillog_file_prefixes = /tmp
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.recipient.example
mydestination =
mynetworks = 127.0.0.0/8
relay_domains = recipient.example
transport_maps = static:smtp:[127.0.0.1]:{sink}
smtp_host_lookup = native
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_milters = {milter}
milter_protocol = {protocol}
milter_default_action = tempfail
milter_connect_timeout = 10s
message_size_limit = 60000000
mailbox_size_limit = 0
header_size_limit = 1024000
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtp_destination_concurrency_limit = 20
smtputf8_enable = no
"""

MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
postlog   unix-dgram n - n - 1 postlogd
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
"""


def why_not() -> str:
    """Why a Postfix cannot be started here, or empty."""
    if os.geteuid() != 0:
        return "a real Postfix needs root"
    if not Path(POSTFIX).exists():
        return "postfix is not installed"
    return ""


class Sink:
    """Takes what Postfix delivers; `messages` are the contents as delivered."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.envelopes: list[tuple[str | None, list[str]]] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd
        """Keep one message."""
        if isinstance(envelope.content, bytes):
            self.messages.append(envelope.content)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos)))
        return "250 2.0.0 kept"


class Postfix:
    """Context manager: a Postfix whose smtpd asks the milter at inet:PORT@HOST."""

    def __init__(self, milter: str, protocol: int = 6, settings: Mapping[str, str] | None = None) -> None:
        """`settings` of main.cf, instead of ours or besides them."""
        self.milter = milter
        self.protocol = protocol
        self._settings = settings or {}
        self.port = free_port()
        self.sink = Sink()
        self.dir = Path(tempfile.mkdtemp(prefix="tamis-postfix-", dir="/tmp"))
        self._controller: Any = None

    def __enter__(self) -> Self:
        # Fewer checks of the sink's peer and no HELO look-ups: the sink only stores.
        self._controller = Controller(self.sink, hostname="127.0.0.1", port=free_port(), data_size_limit=80_000_000)
        self._controller.start()
        try:
            self._write_settings()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([POSTFIX, "-c", str(self.dir), "stop"], capture_output=True, check=False)
        self._controller.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def log(self) -> str:
        """Postfix's own log."""
        path = self.dir / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pids(self) -> list[int]:
        """Of the master and all its daemons; empty when it does not run."""
        try:
            master = psutil.Process(int((self.dir / "queue/pid/master.pid").read_text()))
            return [master.pid, *(daemon.pid for daemon in master.children(recursive=True))]
        except (OSError, ValueError, psutil.NoSuchProcess):
            return []

    def _write_settings(self) -> None:
        self.dir.chmod(0o755)
        (self.dir / "queue").mkdir()
        (self.dir / "data").mkdir()
        shutil.chown(self.dir / "data", "postfix")
        port, _, host = self.milter.removeprefix("inet:").partition("@")
        # Postfix writes it the other way round than sendmail and we do.
        values = {"dir": self.dir, "sink": self._controller.port, "protocol": self.protocol}
        values["milter"] = f"inet:{host}:{port}"
        (self.dir / "main.cf").write_text(self._main_cf(MAIN_CF.format(**values)))
        (self.dir / "master.cf").write_text(MASTER_CF.format(port=self.port))
        for table in ("dynamicmaps.cf", "postfix-files"):
            source = Path("/etc/postfix") / table
            if source.exists():
                shutil.copy(source, self.dir / table)

    def start(self) -> None:
        """Run it, once more if need be; returns when it takes connections. Raises RuntimeError."""
        run = subprocess.run([POSTFIX, "-c", str(self.dir), "start"], capture_output=True, text=True, check=False)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"postfix did not start: {run.stderr[-500:]} {self.log[-1000:]}")

    def _main_cf(self, ours: str) -> str:
        # Named twice, a setting makes every process log a warning, which blocks the start: nobody reads the log yet.
        kept = [line for line in ours.splitlines() if line.partition(" = ")[0] not in self._settings]
        return "\n".join([*kept, *(f"{name} = {value}" for name, value in self._settings.items()), ""])

    def send(
        self,
        raw: bytes,
        sender: str = "ben@friends.example",
        recipients: Sequence[str] = ("reader@recipient.example",),
        client_ip: str = "",
    ) -> tuple[int, str]:
        """Send one message by SMTP; the code and text of the last reply (an SMTP client's view)."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.ehlo("client.example")
            if client_ip:
                code, text = client.docmd("XCLIENT", f"ADDR={client_ip} NAME=client.example HELO=client.example")
                if code >= 400:
                    return code, text.decode("latin-1")
                client.ehlo("client.example")
            return _transaction(client, raw, sender, recipients)

    def delivered(self, count: int, timeout_s: float = 60.0) -> list[bytes]:
        """Wait until the sink holds `count` messages and return them."""
        deadline = time.monotonic() + timeout_s
        while len(self.sink.messages) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return list(self.sink.messages)


def _transaction(client: smtplib.SMTP, raw: bytes, sender: str, recipients: Sequence[str]) -> tuple[int, str]:
    """MAIL, RCPT, DATA without smtplib's own recoding of the content."""
    code, text = client.mail(sender)
    if code >= 400:
        return code, text.decode("latin-1")
    accepted = 0
    for recipient in recipients:
        code, text = client.rcpt(recipient)
        accepted += code < 400
    if not accepted:
        return code, text.decode("latin-1")
    code, text = client.data(raw)
    return code, text.decode("latin-1")


def send_in_parallel(postfix: Postfix, mails: Sequence[bytes], threads: int = 8) -> list[tuple[int, str]]:
    """Send many messages over several connections at once; replies in order."""
    replies: list[tuple[int, str]] = [(0, "")] * len(mails)

    def worker(start: int) -> None:
        for number in range(start, len(mails), threads):
            replies[number] = postfix.send(mails[number], client_ip="192.0.2.25")

    workers = [threading.Thread(target=worker, args=(start,)) for start in range(threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    return replies
