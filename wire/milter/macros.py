"""The macros that hold at one moment of a conversation.

Strategy: an MTA sends the macros of a command right before it, and all of that stage each time, so a stage's macros
replace its earlier ones. Looking up goes from the latest stage back to CONNECT. A new MAIL forgets what belongs
to the transaction, QUIT_NC everything: nothing of one message is seen in the next.
"""

from collections.abc import Mapping
from typing import Final

from wire.milter import constants as c
from wire.milter import events as ev

_CONNECTION: Final = (c.SMFIC_HELO, c.SMFIC_CONNECT)
_TRANSACTION: Final = (
    c.SMFIC_BODYEOB,
    c.SMFIC_BODY,
    c.SMFIC_EOH,
    c.SMFIC_HEADER,
    c.SMFIC_DATA,
    c.SMFIC_RCPT,
    c.SMFIC_MAIL,
)
_LATEST_FIRST: Final = (*_TRANSACTION, *_CONNECTION)


class MacroTable:
    """Macros by stage; names without braces, so that `i` and `{i}` are one."""

    __slots__ = ("_stages",)

    def __init__(self) -> None:
        self._stages: dict[int, dict[bytes, bytes]] = {}

    def update(self, macros: ev.Macros) -> None:
        """Take the macros of the next command; those of MAIL begin a transaction. Unknown stages are not kept."""
        if macros.command == c.SMFIC_MAIL:
            self.forget_transaction()
        if macros.command in _LATEST_FIRST:
            # Of two with one name the first counts.
            self._stages[macros.command] = {_bare(name): value for name, value in reversed(macros.values)}

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """The value that holds now; `name` with or without braces."""
        wanted = _bare(name)
        for stage in _LATEST_FIRST:
            values = self._stages.get(stage)
            if values is not None and wanted in values:
                return values[wanted]
        return default

    def stages(self) -> dict[int, dict[bytes, bytes]]:
        """A copy by stage, for another table."""
        return dict(self._stages)

    @classmethod
    def of_stages(cls, stages: Mapping[int, dict[bytes, bytes]]) -> "MacroTable":
        """The table that `stages` was taken from."""
        table = cls()
        table._stages.update(stages)
        return table

    def forget_transaction(self) -> None:
        """Another MAIL: keep what belongs to the client's connection."""
        for stage in _TRANSACTION:
            self._stages.pop(stage, None)

    def forget_connection(self) -> None:
        """QUIT_NC: the next client's."""
        self._stages.clear()


def _bare(name: bytes) -> bytes:
    return name[1:-1] if name[:1] == b"{" and name[-1:] == b"}" else name
