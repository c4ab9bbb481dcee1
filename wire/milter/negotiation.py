"""What holds between an MTA and a filter: the merge of what one offers and the other wants."""

from dataclasses import dataclass

from wire.milter import constants as c
from wire.milter import events as ev


@dataclass(frozen=True, slots=True)
class Wanted:
    """What our filter asks for; the default is everything that Tamis can use."""

    actions: int = c.ALL_ACTIONS
    steps: int = c.WANTED_STEPS
    symlists: tuple[tuple[int, bytes], ...] = ()
    """(SMFIM_* stage, macro names with spaces) pairs; a stage that is not named keeps the MTA's own list."""


def negotiate(
    offered: ev.Negotiate,
    wanted_actions: int = c.ALL_ACTIONS,
    wanted_steps: int = c.WANTED_STEPS,
    symlists: tuple[tuple[int, bytes], ...] = (),
) -> ev.Negotiated:
    """The filter's answer to an offer: the older version, and of actions and steps only what both name.

    The MTA's word on actions and steps counts whatever its version (Postfix offers all actions with version 2 too);
    macro lists ride in the answer itself, which an MTA older than version 6 could not read.
    """
    version = min(c.VERSION_MAX, offered.version)
    actions = offered.actions & wanted_actions
    if version < 6 or not actions & c.SMFIF_SETSYMLIST:
        actions &= ~c.SMFIF_SETSYMLIST
        symlists = ()
    return ev.Negotiated(version, actions, offered.steps & wanted_steps, symlists)
