"""The one resolver of all filters: unbound on loopback, in front of our name server with a chosen delay.

With a delay nothing is kept anywhere (TTL 0, no cache in unbound): every question takes a round trip, as for mail from
senders not seen of late. A dead zone is forwarded to a socket that never answers, so that unbound does not count its
silence against the living server.
"""

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.nameserver import TTL_S, Zone
from bench.peers.processes import Server, free_port, program

_CONFIG = """
server:
  do-daemonize: no
  use-syslog: no
  verbosity: 0
  logfile: ""
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{directory}"
  interface: 127.0.0.1@{port}
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-not-query-localhost: no
  module-config: "iterator"
  num-threads: 1
  msg-cache-size: 64m
  rrset-cache-size: 64m
  num-queries-per-thread: 4096
  outgoing-range: 4096
{patience}
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{upstream}
  forward-no-cache: {no_cache}
"""
_PATIENCE = "  infra-cache-max-rtt: 1000"
"""A machine that stands still for a moment must not make unbound give up its only forwarder for minutes."""
_DEAD_ZONE = """
forward-zone:
  name: "{zone}"
  forward-addr: 127.0.0.1@{port}
"""


@dataclass(frozen=True, slots=True)
class DnsManner:
    """How DNS answers."""

    delay_ms: tuple[float, float] = (0.0, 0.0)
    """Least and most, evenly spread."""
    dead_zone: str = ""
    """Questions below this name are never answered."""


class LocalResolver:
    """Context manager; `address` is host:port once entered."""

    def __init__(self, zone: Zone, manner: DnsManner, directory: Path) -> None:
        self.address = ""
        self.port = 0
        self._zone = zone
        self._manner = manner
        self._directory = directory
        self._servers: list[Server] = []
        self._silent = socket.socket(type=socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in reversed(self._servers):
            server.stop()
        self._silent.close()

    def _start(self) -> None:
        low_ms, high_ms = self._manner.delay_ms
        zone_file = self._directory / "zone.txt"
        zone_file.write_text("".join(f"{n} {t} {rdata}\n" for (n, t), every in self._zone.items() for rdata in every))
        upstream, self.port = free_port(), free_port()
        command = [sys.executable, "-m", "bench.nameserver", "--zone", str(zone_file), "--port", str(upstream)]
        command += ["--delay-ms", f"{low_ms}:{high_ms}", "--ttl-s", str(0 if high_ms else TTL_S)]
        self._run("nameserver", command, upstream)
        config = self._directory / "unbound.conf"
        text = _CONFIG.format(
            directory=self._directory,
            port=self.port,
            upstream=upstream,
            no_cache="yes" if high_ms else "no",
            patience="" if self._manner.dead_zone else _PATIENCE,
        )
        if self._manner.dead_zone:
            self._silent.bind(("127.0.0.1", 0))
            text += _DEAD_ZONE.format(zone=self._manner.dead_zone, port=self._silent.getsockname()[1])
        config.write_text(text)
        subprocess.run([program("unbound-checkconf"), str(config)], check=True, capture_output=True)
        self._run("unbound", [program("unbound"), "-d", "-c", str(config)], self.port)
        self.address = f"127.0.0.1:{self.port}"

    def _run(self, name: str, command: list[str], port: int) -> None:
        server = Server(name, command, self._directory)
        self._servers.append(server)
        server.wait_listening(port)
