"""A small authoritative name server on loopback (UDP and TCP) for demo, tests and benchmarks.

Names that the zone does not hold are NXDOMAIN, with an SOA, so that a resolver in front may keep that (RFC 2308);
they are answered without a DNS library, since a filter that asks many lists asks mostly for those. An optional delay
stands in for the way to a real resolver.
Usage: python -m bench.nameserver --zone FILE [--port 0] [--delay-ms 20:40] [--ttl-s 300]
"""

import argparse
import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Zone = Mapping[tuple[str, str], list[str]]
"""(lower-case name without final dot, type) to rdata in presentation format."""
TTL_S = 300
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
_HEADER_BYTES = 12
_NO_QUERY = 0xF800
"""A response, or another operation than QUERY."""
_RECURSION_DESIRED = 0x100


def txt_rdata(text: bytes) -> str:
    """TXT rdata in presentation format: quoted strings of at most 255 bytes."""
    chunks = [text[start : start + 255] for start in range(0, len(text), 255)] or [b""]
    return " ".join('"' + "".join(_escaped(byte) for byte in chunk) + '"' for chunk in chunks)


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return "\\" + chr(byte)
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}"


def read_zone(lines: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Lines `name TYPE rdata`, as `tamis scan --dns-zone` takes them."""
    zone: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.strip() and not line.startswith(("#", ";")):
            name, record_type, rdata = line.strip().split(None, 2)
            zone.setdefault((name.lower().rstrip("."), record_type.upper()), []).append(rdata)
    return zone


class Nameserver(asyncio.DatagramProtocol):
    """Answers questions about one zone; `questions` counts them."""

    def __init__(
        self,
        zone: Zone,
        delay_s: tuple[float, float] = (0.0, 0.0),
        ttl_s: int = TTL_S,
        silent: Iterable[str] = (),
    ) -> None:
        """`silent` are domains about which it says nothing, as if their own servers were dead."""
        self.zone = zone
        self.silent = tuple(silent)
        self.ttl_s = ttl_s
        self.delay_s = delay_s
        self.questions = 0
        self.port = 0
        self._names = {parent for name, _ in zone for parent in _with_parents(name)}
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1, UDP and TCP on the same port; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve_tcp, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        # A resolver that meets a burst of new names asks them all at once.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return self.port

    def stop(self) -> None:
        """Close both sockets."""
        if self._transport:
            self._transport.close()
        if self._server:
            self._server.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One UDP question."""
        answer = self.answer(data, udp=True)
        if answer is None or self._transport is None:
            return
        low, high = self.delay_s
        if high:
            loop = asyncio.get_running_loop()
            loop.call_later(random.uniform(low, high), self._transport.sendto, answer, addr)
        else:
            self._transport.sendto(answer, addr)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self.answer(await reader.readexactly(length), udp=False)
                if answer is None:
                    break
                await asyncio.sleep(random.uniform(*self.delay_s))
                writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()

    def answer(self, question: bytes, *, udp: bool) -> bytes | None:
        """The wire answer to a wire question, or None for what gets none."""
        if (absent := self._absent(question)) is not None:
            self.questions += 1
            return absent
        try:
            query = dns.message.from_wire(question)
        except dns.exception.DNSException:
            return None
        if not query.question:
            return None
        self.questions += 1
        response = dns.message.make_response(query, recursion_available=True)
        asked = query.question[0]
        name = asked.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(asked.rdtype)
        if self._is_silent(name):
            return None
        rdatas = self.zone.get((name, kind))
        if rdatas:
            response.answer.append(dns.rrset.from_text_list(asked.name, self.ttl_s, "IN", kind, rdatas))
        else:
            response.authority.append(dns.rrset.from_text(dns.name.root, self.ttl_s, "IN", "SOA", self._soa))
            if name not in self._names:
                response.set_rcode(dns.rcode.NXDOMAIN)
        wire = response.to_wire(max_size=65535)
        if udp and len(wire) > max(512, query.payload):
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire

    @property
    def _soa(self) -> str:
        return f". . 1 3600 600 86400 {self.ttl_s}"

    def _absent(self, question: bytes) -> bytes | None:
        """NXDOMAIN for a plain question about a name that is not here; None for every other."""
        if len(question) <= _HEADER_BYTES:
            return None
        flags, counted, answers = struct.unpack_from("!HHH", question, 2)
        name, end = _question_name(question)
        if flags & _NO_QUERY or counted != 1 or answers or end is None or name in self._names or self._is_silent(name):
            return None
        header = question[:2] + struct.pack("!HHHHH", 0x8483 | flags & _RECURSION_DESIRED, 1, 0, 1, 1)
        soa_data = struct.pack("!BBIIIII", 0, 0, 1, 3600, 600, 86400, self.ttl_s)
        soa = struct.pack("!BHHIH", 0, dns.rdatatype.SOA, dns.rdataclass.IN, self.ttl_s, len(soa_data)) + soa_data
        edns = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, 4096, 0, 0)
        return header + question[_HEADER_BYTES : end + 4] + soa + edns

    def _is_silent(self, name: str) -> bool:
        return any(name == domain or name.endswith("." + domain) for domain in self.silent)


def _question_name(question: bytes) -> tuple[str, int | None]:
    """The name asked about in lower case, and where it ends; None when it does not."""
    labels: list[bytes] = []
    place = _HEADER_BYTES
    while place < len(question) - 4:
        size = question[place]
        if size == 0:
            return b".".join(labels).lower().decode("latin-1"), place + 1
        if size > 63:
            break
        labels.append(question[place + 1 : place + 1 + size])
        place += 1 + size
    return "", None


def _with_parents(name: str) -> Iterator[str]:
    """The name and every name above it: they exist too (RFC 8020), so they are NODATA, not NXDOMAIN."""
    while name:
        yield name
        name = name.partition(".")[2]


def _parse_delay(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    return float(low) / 1000, float(high or low) / 1000


def _zone_lines(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        yield from path.read_text().splitlines()


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zone", type=Path, action="append", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=_parse_delay, default=(0.0, 0.0), help="one number or LOW:HIGH")
    parser.add_argument("--silent", action="append", default=[], help="a domain about which it says nothing")
    parser.add_argument("--ttl-s", type=int, default=TTL_S)
    args = parser.parse_args()
    server = Nameserver(read_zone(_zone_lines(args.zone)), args.delay_ms, args.ttl_s, args.silent)
    print(f"127.0.0.1:{await server.start(args.port)}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
