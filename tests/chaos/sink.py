"""Where mail goes that a Postfix under test has accepted: an SMTP server that writes down what came, and can be killed.

    python -m tests.chaos.sink PORT FILE

Appends one JSON line for each message, then says 250.
"""

import asyncio
import contextlib
import json
import re
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

BYTES_MAX = 80_000_000
_QUEUE_ID = re.compile(r"\bid (\w+)")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message that arrived."""

    recipient: str
    queue_id: str
    """Of the Postfix that brought it."""
    scanned: bool
    degraded: str
    unfiltered: str


def arrival(recipient: str, raw: bytes) -> Arrival:
    """What is kept of it."""
    head = BytesHeaderParser().parsebytes(raw.partition(b"\r\n\r\n")[0])
    by = _QUEUE_ID.search(str(head.get("Received", "")))
    return Arrival(
        recipient=recipient,
        queue_id=by[1] if by else "",
        scanned="X-Spam-Status" in head and "Authentication-Results" in head,
        degraded=str(head.get("X-Tamis-Degraded", "")),
        unfiltered=str(head.get("X-Tamis-Unfiltered", "")),
    )


def arrivals(file: Path) -> dict[str, list[Arrival]]:
    """All that arrived so far, by recipient."""
    found = defaultdict(list)
    for line in file.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            one = Arrival(**json.loads(line))
            found[one.recipient].append(one)
    return found


class Sink:
    """The handler of aiosmtpd."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a")

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd
        """Write down one message."""
        assert isinstance(envelope.content, bytes)
        for recipient in envelope.rcpt_tos:
            self._file.write(json.dumps(asdict(arrival(recipient, envelope.content))) + "\n")
        self._file.flush()
        return "250 2.0.0 kept"


async def _main(port: int, file: Path) -> None:
    sink = Sink(file)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(sink, data_size_limit=BYTES_MAX, hostname="sink.example"), "127.0.0.1", port
    )
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
