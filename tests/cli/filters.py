"""A filter in memory: answers an MTA session by a script, over streams that are no sockets."""

import asyncio
from collections.abc import Mapping, Sequence

from wire.milter import NEED_DATA, FilterConnection, Wanted
from wire.milter import events as ev

Script = Mapping[type, Sequence[ev.Reply]]


class FilterInMemory:
    """Both the writer that an MTA writes to and the filter behind it; `reader` is what the MTA reads.

    An event of a type that the script names gets those replies, the n-th time the n-th of a list of lists; others that
    need an answer get Continue. `raw` answers with bytes instead.
    """

    def __init__(
        self, script: Script | None = None, wanted: Wanted | None = None, raw: Mapping[type, bytes] | None = None
    ) -> None:
        self.reader = asyncio.StreamReader()
        self.events: list[ev.Event] = []
        self.closed = False
        self.writes = 0
        self._script = script or {}
        self._raw = raw or {}
        self._milter = FilterConnection(offer=wanted or Wanted())

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._milter.receive_data(data)
        while (event := self._milter.next_event()) is not NEED_DATA:
            self.events.append(event)
            self._answer(event)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def close(self) -> None:
        self.closed = True

    def _answer(self, event: ev.Event) -> None:
        if type(event) in self._raw:
            self.reader.feed_data(self._raw[type(event)])
            if not self._raw[type(event)]:
                self.reader.feed_eof()
        elif isinstance(event, ev.Negotiate):
            self.reader.feed_data(self._milter.send(self._milter.negotiate(event)))
        elif self._milter.awaiting_reply:
            for reply in self._script.get(type(event), [ev.Continue()]):
                if self._milter.awaiting_reply:
                    self.reader.feed_data(self._milter.send(reply))

    def said(self, kind: type) -> list[ev.Event]:
        return [event for event in self.events if type(event) is kind]
