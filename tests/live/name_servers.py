"""Debian's BIND on loopback: a primary that takes signed updates and a secondary that transfers when it starts.

BIND listens at addresses of interfaces only, so one has the IPv4 and the other the IPv6 loopback, on the same port.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.update

from bench.peers.processes import Missing, Server, free_port, program
from tests.conftest import skip_or_fail

PRIMARY, SECONDARY = "127.0.0.1", "::1"
NEGATIVE_TTL_S = 1200
_ZONE = f"""$TTL 300
@ IN SOA ns1 hostmaster 1 86400 86400 864000 {NEGATIVE_TTL_S}
@ IN NS ns1
@ IN NS ns2
ns1 IN A {PRIMARY}
ns2 IN AAAA {SECONDARY}
"""
_OPTIONS = """
include "{directory}/tsig.key";
controls {{ }};
options {{
  directory "{directory}";
  {listen}
  pid-file "{directory}/named.pid";
  session-keyfile "{directory}/session.key";
  recursion no;
  dnssec-validation no;
  notify no;
  allow-transfer {{ any; }};
}};
zone "example.org" {{ {zone} }};
"""


@dataclass
class NameServers:
    """Both of them, on one port."""

    directory: Path
    port: int
    tsig: Path
    _running: dict[str, Server] = field(default_factory=dict)

    def endpoint(self, address: str) -> str:
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"

    def start(self, address: str) -> None:
        directory = self.directory / ("primary" if address == PRIMARY else "secondary")
        directory.mkdir(exist_ok=True)
        if address == PRIMARY:
            zone = 'type primary; file "zone"; allow-update { key "rotate"; };'
            if not (directory / "zone").exists():
                (directory / "zone").write_text(_ZONE)
        else:
            zone = f"type secondary; primaries port {self.port} {{ {PRIMARY}; }};"
        (directory / "tsig.key").write_bytes(self.tsig.read_bytes())
        v4, v6 = (f"{{ {address if wanted else 'none'}; }};" for wanted in (address == PRIMARY, address != PRIMARY))
        listen = f"listen-on port {self.port} {v4} listen-on-v6 port {self.port} {v6}"
        text = _OPTIONS.format(directory=directory, listen=listen, zone=zone)
        (directory / "conf").write_text(text)
        server = Server("named", [program("named"), "-g", "-n", "1", "-c", str(directory / "conf")], directory)
        self._running[address] = server
        server.wait_until(lambda: self._has_the_zone(address), "it has the zone")

    def stop(self, address: str) -> None:
        self._running.pop(address).stop()

    def transfer(self) -> None:
        """The secondary gets what the primary has."""
        self.stop(SECONDARY)
        self.start(SECONDARY)

    def stop_all(self) -> None:
        for address in list(self._running):
            self.stop(address)

    def add(self, name: str, kind: str, record: str) -> None:
        """A record more at the primary."""
        words = self.tsig.read_text().split('"')
        update = dns.update.UpdateMessage("example.org", keyring=dns.tsig.Key(words[1], words[3]))
        update.add(dns.name.from_text(name), 300, kind, record)
        assert dns.query.tcp(update, PRIMARY, 5, self.port).rcode() == dns.rcode.NOERROR

    def texts(self, name: str, address: str) -> list[bytes]:
        answer = dns.query.tcp(dns.message.make_query(name, "TXT"), address, 5, self.port)
        return [b"".join(record.strings) for rrset in answer.answer for record in rrset]

    def _has_the_zone(self, address: str) -> bool:
        try:
            answer = dns.query.udp(dns.message.make_query("example.org", "SOA"), address, 1, self.port)
        except (dns.exception.DNSException, OSError):
            return False
        return bool(answer.answer)


@contextmanager
def name_servers(directory: Path) -> Iterator[NameServers]:
    """Started in this directory, stopped at the end."""
    try:
        program("named")
    except Missing as missing:
        skip_or_fail(str(missing))
    tsig = directory / "tsig.key"
    tsig.write_bytes(subprocess.run([program("tsig-keygen"), "rotate"], capture_output=True, check=True).stdout)
    tsig.chmod(0o600)
    servers = NameServers(directory, free_port(), tsig)
    try:
        servers.start(PRIMARY)
        servers.start(SECONDARY)
        yield servers
    finally:
        servers.stop_all()
