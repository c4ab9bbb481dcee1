"""How many packets a second the milter codec takes: `python -m bench.codec`.

Strategy: one session as Postfix sends it (macros before each header, four signatures, a 43 kB body in one chunk), fed
to a FilterConnection in reads of 16 kB, again and again; replies are sent where they are due. One core, no I/O.
"""

import argparse
import time

from bench.figures import show
from wire.milter import NEED_DATA, FilterConnection, MtaConnection
from wire.milter import constants as c
from wire.milter import events as ev

READ_BYTES = 16 * 1024
QUEUE_ID = ((b"i", b"4b1zXn0Qk7z1"),)


def session_bytes(headers: int, body_bytes: int) -> tuple[bytes, int]:
    """What an MTA sends for one message after negotiation, and how many packets that is."""
    mta, _ = negotiated_pair()
    events: list[ev.Event] = [
        ev.Macros(
            c.SMFIC_CONNECT, ((b"j", b"mx.example.org"), (b"{daemon_name}", b"smtpd"), (b"v", b"Postfix 3.7.11"))
        ),
        ev.Connect(b"mail.example.com", c.SMFIA_INET, 54321, b"192.0.2.7"),
        ev.Helo(b"mail.example.com"),
        ev.Macros(c.SMFIC_MAIL, ((*QUEUE_ID[0],), (b"{mail_addr}", b"alice@example.com"))),
        ev.Mail(b"<alice@example.com>", (b"SIZE=48000", b"BODY=8BITMIME")),
        ev.Macros(c.SMFIC_RCPT, QUEUE_ID),
        ev.Recipient(b"<bob@example.org>"),
        ev.Macros(c.SMFIC_DATA, QUEUE_ID),
        ev.Data(),
    ]
    for number in range(headers):
        value = b" v=1; a=rsa-sha256;\n\tb=" + b"A" * 700 if number < 4 else b" an ordinary value of a header field"
        events += [ev.Macros(c.SMFIC_HEADER, QUEUE_ID), ev.Header(b"X-Field-%d" % number, value)]
    events += [ev.EndOfHeaders(), ev.Body(b"x" * body_bytes), ev.Macros(c.SMFIC_BODYEOB, QUEUE_ID), ev.EndOfBody()]
    data = bytearray()
    for event in events:
        data += mta.send(event)
        if mta.awaiting_reply and not isinstance(event, ev.EndOfBody):
            mta.receive_data(b"\0\0\0\1c")
            mta.next_event()
    return bytes(data), len(events)


def negotiated_pair() -> tuple[MtaConnection, FilterConnection]:
    """Both ends of a conversation after negotiation."""
    mta, gateway = MtaConnection(), FilterConnection()
    gateway.receive_data(mta.send(ev.Negotiate(6, c.ALL_ACTIONS, c.OFFERED_STEPS)))
    offer = gateway.next_event()
    assert isinstance(offer, ev.Negotiate)
    mta.receive_data(gateway.send(gateway.negotiate(offer)))
    mta.next_event()
    return mta, gateway


def take(data: bytes) -> int:
    """Feed one session to a fresh connection; returns the number of events."""
    _, gateway = negotiated_pair()
    count = 0
    for start in range(0, len(data), READ_BYTES):
        gateway.receive_data(data[start : start + READ_BYTES])
        while gateway.next_event() is not NEED_DATA:
            count += 1
            if gateway.awaiting_reply:
                gateway.send(ev.Continue())
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--headers", type=int, default=25)
    parser.add_argument("--body-bytes", type=int, default=43_000)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    data, packets = session_bytes(options.headers, options.body_bytes)
    assert take(data) == packets
    sessions = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < options.seconds:
        take(data)
        sessions += 1
    figures = {
        "packets_per_s": round(sessions * packets / spent),
        "messages_per_s": round(sessions / spent),
        "packets_per_message": packets,
        "bytes_per_message": len(data),
    }
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
