"""An event loop whose clock jumps to the next timer when nothing else is to do: tests wait for hours in no time."""

import asyncio
import selectors
from collections.abc import Mapping
from selectors import SelectorKey


class _JumpingSelector(selectors.BaseSelector):
    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the test waits for something that will never happen")
            self.now_s += max(0.0, timeout)
        return ready

    def register(self, fileobj: object, events: int, data: object = None) -> SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: object) -> SelectorKey:
        return self._real.unregister(fileobj)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[object, SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual; everything else is asyncio's own."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s
