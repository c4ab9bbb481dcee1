"""A network switch in user space: what travels between network namespaces, late, lost or cut off as the test wants.

    python -m tests.chaos.switch NAMESPACE ...

Strategy: the kernel here has no netem. So each namespace gets a TAP device `eth0` whose frames this process reads and
hands on, by destination address: the last byte of ours is the number of the port. Each line on standard input is a
JSON object, the `Weather` from then on; losses are drawn from a seeded generator. TAP devices end with this process.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DEVICE = "eth0"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP_WITHOUT_HEAD = 0x0002 | 0x1000
_FRAME_BYTES = 65536
_FRAMES_AT_ONCE = 64
_SEED = 20


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network does; ports count from 1."""

    cuts: tuple[tuple[int, int], ...] = ()
    """Pairs of ports between which nothing passes."""
    slow_ports: tuple[int, ...] = ()
    """Whatever goes to or comes from these is `delay_s` late, each way."""
    delay_s: float = 0.0
    loss: float = 0.0
    """Share of all frames that are lost."""

    def passage(self, source: int, target: int, chance: float) -> float | None:
        """How late a frame arrives, in seconds; None: it does not. `chance` is drawn from 0 to 1."""
        if (source, target) in self.cuts or (target, source) in self.cuts or chance < self.loss:
            return None
        return self.delay_s if source in self.slow_ports or target in self.slow_ports else 0.0

    def to_json(self) -> str:
        """One line."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def weather_from_json(line: str) -> Weather:
    """The reverse of `to_json`."""
    found = json.loads(line)
    cuts = tuple((first, second) for first, second in found.pop("cuts"))
    return Weather(cuts, tuple(found.pop("slow_ports")), **found)


def mac(port: int) -> str:
    """The hardware address at a port."""
    return f"02:00:00:00:00:{port:02x}"


def targets(frame: bytes, source: int, ports: int) -> Iterator[int]:
    """Where a frame goes: broadcasts to everybody else, what is ours to its port, the rest nowhere."""
    if frame[0] & 1:
        yield from (port for port in range(1, ports + 1) if port != source)
    elif frame[:5] == b"\2\0\0\0\0" and 1 <= frame[5] <= ports and frame[5] != source:
        yield frame[5]


class Switch:
    """Hands frames on between file descriptors of TAP devices; port n is the n-th."""

    def __init__(self, taps: Sequence[int], chance: Callable[[], float]) -> None:
        self.weather = Weather()
        self._taps = taps
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        for port, tap in enumerate(taps, start=1):
            self._loop.add_reader(tap, self._receive, port, tap)

    def _receive(self, source: int, tap: int) -> None:
        for _ in itertools.repeat(None, _FRAMES_AT_ONCE):
            try:
                frame = os.read(tap, _FRAME_BYTES)
            except OSError:
                return
            for target in targets(frame, source, len(self._taps)):
                late_s = self.weather.passage(source, target, self._chance())
                if late_s:
                    self._loop.call_later(late_s, self._deliver, target, frame)
                elif late_s is not None:
                    self._deliver(target, frame)

    def _deliver(self, target: int, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # its queue is full: as on a real line, the frame is lost
            os.write(self._taps[target - 1], frame)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread is in the namespace meanwhile; what it opens there stays there. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path("/run/netns", namespace).open("rb") as there:
        if libc.setns(there.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot come back")


def open_tap(namespace: str) -> int:
    """A TAP device in this namespace, as a file descriptor."""
    with inside(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TAP_WITHOUT_HEAD))
    return tap


async def _main(namespaces: Sequence[str]) -> None:
    switch = Switch([open_tap(namespace) for namespace in namespaces], random.Random(_SEED).random)
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := await orders.readline():
        switch.weather = weather_from_json(line.decode())
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
