"""The milter protocol, versions 2 to 6, both ends, without I/O.

constants.py    the numbers, under Sendmail's names
events.py       what the two sides say: frozen values of bytes
frames.py       byte stream <-> (command, payload)
readers.py      payload -> event; writers.py: event -> payload
states.py       tables: (state, command) -> next state, command -> replies allowed
limits.py       how much a peer may send
negotiation.py  offer and wish -> what holds
connection.py   FilterConnection (our gateway), MtaConnection (`tamis send`, tests, bench)
macros.py       the macros that hold at one moment
values.py       brackets, folds, reply texts; address.py: `inet:PORT@HOST`
"""

from wire.milter.address import Address, AddressError, TcpAddress, UnixAddress, parse_listen
from wire.milter.connection import NEED_DATA, FilterConnection, FilterSnapshot, MtaConnection, NeedData
from wire.milter.errors import LimitExceeded, LocalProtocolError, ProtocolError, RemoteProtocolError
from wire.milter.limits import Limits
from wire.milter.macros import MacroTable
from wire.milter.negotiation import Wanted, negotiate
from wire.milter.states import State
from wire.milter.values import client_ip, folds_to_crlf, folds_to_lf, format_reply, strip_brackets

__all__ = [
    "NEED_DATA",
    "Address",
    "AddressError",
    "FilterConnection",
    "FilterSnapshot",
    "LimitExceeded",
    "Limits",
    "LocalProtocolError",
    "MacroTable",
    "MtaConnection",
    "NeedData",
    "ProtocolError",
    "RemoteProtocolError",
    "State",
    "TcpAddress",
    "UnixAddress",
    "Wanted",
    "client_ip",
    "folds_to_crlf",
    "folds_to_lf",
    "format_reply",
    "negotiate",
    "parse_listen",
    "strip_brackets",
]
