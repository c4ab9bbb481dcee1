"""Words for the numbers of a negotiation: what people read in traces and write in options. Sendmail's names."""

from collections.abc import Mapping
from typing import Final

from wire.milter import constants as c

ACTION_NAMES: Final[Mapping[str, int]] = {
    name.removeprefix("SMFIF_"): value for name, value in vars(c).items() if name.startswith("SMFIF_")
}
STEP_NAMES: Final[Mapping[str, int]] = {
    name.removeprefix("SMFIP_"): value for name, value in vars(c).items() if name.startswith("SMFIP_")
}


def flag_names(flags: int, names: Mapping[str, int]) -> list[str]:
    """The names of the set bits, lowest first; a bit without a name is written in hex."""
    known = {value: name for name, value in names.items()}
    bits = (1 << place for place in range(flags.bit_length()))
    return [known.get(bit, hex(bit)) for bit in bits if flags & bit]


def negotiation_text(version: int, actions: int, steps: int) -> str:
    """One line: version, actions and steps by name."""
    shown = (
        " ".join(flag_names(flags, names)) or "none" for flags, names in ((actions, ACTION_NAMES), (steps, STEP_NAMES))
    )
    return "version {} · actions {} · steps {}".format(version, *shown)
