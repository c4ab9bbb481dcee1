"""A filter on a loopback port that answers what a dialog says, and keeps what the MTA said.

One thread for each connection; the connection of interest is the one whose client `wanted` likes, all others hear
CONTINUE. Of NEGOTIATE it cannot know yet: every connection negotiates as the dialog does.
"""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from wire.milter import NEED_DATA, FilterConnection, ProtocolError, State
from wire.milter import events as ev

ACCEPT_POLL_S = 0.2
READ_TIMEOUT_S = 30.0


class Conversation:
    """What one dialog makes the filter answer, and what it heard."""

    def __init__(
        self, negotiated: ev.Negotiated, answers: Sequence[list[object]], peer: bytes, added_fields: Sequence[bytes]
    ) -> None:
        self.negotiated = negotiated
        self.peer = peer
        """Address of the client that it is about, as XCLIENT says it."""
        self.heard: list[tuple[State, ev.Event]] = []
        """Each event with the state before it."""
        self.over = threading.Event()
        self._answers = deque(answers)
        self._added_fields = added_fields

    def answer(self, event: ev.Event) -> list[object]:
        """What the filter says to the event that waits; to what is not in the dialog: go on."""
        if not self._answers or (isinstance(event, ev.Header) and event.name in self._added_fields):
            return [ev.Continue()]
        return self._answers.popleft()


class ScriptedFilter:
    """Context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(ACCEPT_POLL_S)
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self.conversation: Conversation | None = None

    @property
    def address(self) -> str:
        return f"inet:{self._listener.getsockname()[1]}@127.0.0.1"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(timeout=READ_TIMEOUT_S)
        self._listener.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(ACCEPT_POLL_S)
        codec = FilterConnection()
        conversation: Conversation | None = None
        opening: list[tuple[State, ev.Event]] = []
        with connection, contextlib.suppress(ProtocolError, OSError):
            while not self._closing.is_set():
                before = codec.state
                event = codec.next_event()
                if event is NEED_DATA:
                    with contextlib.suppress(TimeoutError):
                        data = connection.recv(65_536)
                        if not data:
                            break
                        codec.receive_data(data)
                    continue
                wanted = self.conversation
                if isinstance(event, ev.Connect) and wanted is not None and event.address == wanted.peer:
                    conversation = wanted
                    conversation.heard += opening
                (opening if conversation is None else conversation.heard).append((before, event))
                if isinstance(event, ev.Negotiate):
                    answers: list[object] = [wanted.negotiated if wanted is not None else codec.negotiate(event)]
                elif codec.awaiting_reply:
                    answers = conversation.answer(event) if conversation is not None else [ev.Continue()]
                else:
                    answers = []
                connection.sendall(b"".join(codec.send(answer) for answer in answers))  # type: ignore[arg-type]
        if conversation is not None:
            conversation.over.set()
