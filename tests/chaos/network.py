"""Network namespaces with one switch between them (switch.py), which a test makes slow, lossy or cuts through."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.chaos.switch import DEVICE, Weather, inside, mac

MTU_BYTES = 9000


class Network:
    """Context manager: hosts 1 to `hosts`, each a network namespace with the address 10.77.0.N."""

    def __init__(self, hosts: int) -> None:
        self.names = [f"tamis-{os.getpid()}-{number}" for number in range(1, hosts + 1)]
        self._switch: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            for name in self.names:
                _ip("netns", "add", name)
            command = [sys.executable, "-m", "tests.chaos.switch", *self.names]
            self._switch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._answered()
            for number, name in enumerate(self.names, start=1):
                _ip("-n", name, "link", "set", DEVICE, "address", mac(number), "mtu", str(MTU_BYTES), "up")
                _ip("-n", name, "addr", "add", f"{address(number)}/24", "dev", DEVICE)
                _ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def prefix(self, host: int) -> tuple[str, ...]:
        """Of a command that runs on this host."""
        return ("ip", "netns", "exec", self.names[host - 1])

    def set(self, weather: Weather) -> None:
        """The network is like this from now on."""
        assert self._switch is not None
        assert self._switch.stdin is not None
        self._switch.stdin.write(weather.to_json() + "\n")
        self._switch.stdin.flush()
        self._answered()

    def listen(self, host: int, port: int) -> socket.socket:
        """A socket that listens on this host's loopback, in the hands of this process."""
        with inside(self.names[host - 1]):
            return socket.create_server(("127.0.0.1", port))

    def _answered(self) -> None:
        assert self._switch is not None
        assert self._switch.stdout is not None
        if not self._switch.stdout.readline():
            raise RuntimeError("the switch has ended")


def address(host: int) -> str:
    """IP address of a host."""
    return f"10.77.0.{host}"


def around(hosts: Sequence[int], others: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The cuts that part these hosts from the others."""
    return tuple((host, other) for host in hosts for other in others if host != other)


def why_not() -> str:
    """Why there can be no namespaces here, or empty."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [path for path in ("/sbin/ip", "/dev/net/tun") if not Path(path).exists()]
    return f"no {', '.join(missing)}" if missing else ""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
