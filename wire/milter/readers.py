"""Payloads to events: one function per command of the MTA and per reply of the filter.

Strategy: total functions of bytes; what does not fit raises RemoteProtocolError. Strings end in NUL, and only there.
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter.errors import RemoteProtocolError

_U32: Final = Struct("!I")
_OPTNEG: Final = Struct("!III")


def _strings(payload: bytes, what: str) -> list[bytes]:
    parts = payload.split(b"\0")
    if parts.pop():
        raise RemoteProtocolError(f"{what}: string without NUL at its end")
    return parts


def _string(payload: bytes, what: str) -> bytes:
    parts = _strings(payload, what)
    if len(parts) != 1:
        raise RemoteProtocolError(f"{what}: {len(parts)} strings where one belongs")
    return parts[0]


def read_pair(payload: bytes, what: str) -> tuple[bytes, bytes]:
    """Two strings, for example name and value of a header field. Raises RemoteProtocolError."""
    try:
        first, second, tail = payload.split(b"\0", 2)
    except ValueError:
        tail = b"?"
    if tail:
        raise RemoteProtocolError(f"{what}: not two strings")
    return first, second


def _string_and_maybe_args(payload: bytes, what: str) -> tuple[bytes, bytes]:
    parts = _strings(payload, what)
    if not 1 <= len(parts) <= 2:
        raise RemoteProtocolError(f"{what}: {len(parts)} strings where one or two belong")
    return parts[0], parts[1] if len(parts) == 2 else b""


def _empty(payload: bytes, what: str) -> None:
    if payload:
        raise RemoteProtocolError(f"{what}: {len(payload)} bytes where none belong")


# --- commands --------------------------------------------------------------------------------------------------------


def _negotiate(payload: bytes) -> ev.Negotiate:
    if len(payload) < _OPTNEG.size:
        raise RemoteProtocolError("OPTNEG: shorter than three numbers")
    version, actions, steps = _OPTNEG.unpack_from(payload)
    if version < c.VERSION_MIN:
        raise RemoteProtocolError(f"OPTNEG: version {version} is older than {c.VERSION_MIN}")
    return ev.Negotiate(version, actions, steps)


def _macros(payload: bytes) -> ev.Macros:
    if not payload:
        raise RemoteProtocolError("MACRO: no command")
    parts = payload[1:].split(b"\0")
    if parts.pop() or len(parts) % 2:
        raise RemoteProtocolError("MACRO: not pairs of strings")
    ordered = iter(parts)
    return ev.Macros(payload[0], tuple(zip(ordered, ordered, strict=True)))


def _connect(payload: bytes) -> ev.Connect:
    hostname, nul, rest = payload.partition(b"\0")
    if not nul or not rest:
        raise RemoteProtocolError("CONNECT: no host name or family")
    family = rest[:1]
    if family == c.SMFIA_UNKNOWN:
        _empty(rest[1:], "CONNECT of unknown family")
        return ev.Connect(hostname, family, 0, b"")
    if family not in (c.SMFIA_INET, c.SMFIA_INET6, c.SMFIA_UNIX):
        raise RemoteProtocolError(f"CONNECT: no such family {family!r}")
    if len(rest) < 4:
        raise RemoteProtocolError("CONNECT: no port or address")
    return ev.Connect(hostname, family, int.from_bytes(rest[1:3]), _string(rest[3:], "CONNECT"))


def _helo(payload: bytes) -> ev.Helo:
    return ev.Helo(_string(payload, "HELO"))


def _mail(payload: bytes) -> ev.Mail:
    parts = _strings(payload, "MAIL")
    if not parts:
        raise RemoteProtocolError("MAIL: no address")
    return ev.Mail(parts[0], tuple(parts[1:]))


def _recipient(payload: bytes) -> ev.Recipient:
    parts = _strings(payload, "RCPT")
    if not parts:
        raise RemoteProtocolError("RCPT: no address")
    return ev.Recipient(parts[0], tuple(parts[1:]))


def _data(payload: bytes) -> ev.Data:
    _empty(payload, "DATA")
    return ev.Data()


def _header(payload: bytes) -> ev.Header:
    return ev.Header(*read_pair(payload, "HEADER"))


def _end_of_headers(payload: bytes) -> ev.EndOfHeaders:
    _empty(payload, "EOH")
    return ev.EndOfHeaders()


def _abort(payload: bytes) -> ev.Abort:
    _empty(payload, "ABORT")
    return ev.Abort()


def _quit(payload: bytes) -> ev.Quit:
    _empty(payload, "QUIT")
    return ev.Quit()


def _quit_new_connection(payload: bytes) -> ev.QuitNewConnection:
    _empty(payload, "QUIT_NC")
    return ev.QuitNewConnection()


def _unknown(payload: bytes) -> ev.Unknown:
    return ev.Unknown(_string(payload, "UNKNOWN"))


COMMAND_READERS: Final[Mapping[int, Callable[[bytes], ev.Event]]] = {
    c.SMFIC_OPTNEG: _negotiate,
    c.SMFIC_MACRO: _macros,
    c.SMFIC_CONNECT: _connect,
    c.SMFIC_HELO: _helo,
    c.SMFIC_MAIL: _mail,
    c.SMFIC_RCPT: _recipient,
    c.SMFIC_DATA: _data,
    c.SMFIC_HEADER: _header,
    c.SMFIC_EOH: _end_of_headers,
    c.SMFIC_BODY: ev.Body,
    c.SMFIC_BODYEOB: ev.EndOfBody,
    c.SMFIC_ABORT: _abort,
    c.SMFIC_QUIT: _quit,
    c.SMFIC_QUIT_NC: _quit_new_connection,
    c.SMFIC_UNKNOWN: _unknown,
}

# --- replies ---------------------------------------------------------------------------------------------------------


def _bare(make: Callable[[], ev.Reply]) -> Callable[[bytes], ev.Reply]:
    """A reply without payload."""

    def read(payload: bytes) -> ev.Reply:
        _empty(payload, "reply")
        return make()

    return read


def _negotiated(payload: bytes) -> ev.Negotiated:
    if len(payload) < _OPTNEG.size:
        raise RemoteProtocolError("OPTNEG reply: shorter than three numbers")
    version, actions, steps = _OPTNEG.unpack_from(payload)
    symlists: list[tuple[int, bytes]] = []
    rest = payload[_OPTNEG.size :]
    while rest:
        names, nul, tail = rest[_U32.size :].partition(b"\0")
        if not nul:
            raise RemoteProtocolError("OPTNEG reply: macro list without NUL at its end")
        symlists.append((int.from_bytes(rest[: _U32.size]), names))
        rest = tail
    return ev.Negotiated(version, actions, steps, tuple(symlists))


def _reply_code(payload: bytes) -> ev.ReplyCode:
    text = _string(payload, "REPLYCODE")
    # Sendmail uses the text as a format: doubled per cent signs stand for one, single ones are no text (as in Postfix).
    return ev.ReplyCode(b"%".join(part.replace(b"%", b"") for part in text.split(b"%%")))


def _add_header(payload: bytes) -> ev.AddHeader:
    name, value = read_pair(payload, "ADDHEADER")
    return ev.AddHeader(name, value)


def _insert_header(payload: bytes) -> ev.InsertHeader:
    name, value = read_pair(payload[_U32.size :], "INSHEADER")
    return ev.InsertHeader(int.from_bytes(payload[: _U32.size]), name, value)


def _change_header(payload: bytes) -> ev.ChangeHeader:
    name, value = read_pair(payload[_U32.size :], "CHGHEADER")
    return ev.ChangeHeader(int.from_bytes(payload[: _U32.size]), name, value)


def _change_from(payload: bytes) -> ev.ChangeFrom:
    return ev.ChangeFrom(*_string_and_maybe_args(payload, "CHGFROM"))


def _add_recipient(payload: bytes) -> ev.AddRecipient:
    return ev.AddRecipient(_string(payload, "ADDRCPT"))


def _add_recipient_par(payload: bytes) -> ev.AddRecipientPar:
    return ev.AddRecipientPar(*_string_and_maybe_args(payload, "ADDRCPT_PAR"))


def _delete_recipient(payload: bytes) -> ev.DeleteRecipient:
    return ev.DeleteRecipient(_string(payload, "DELRCPT"))


def _quarantine(payload: bytes) -> ev.Quarantine:
    return ev.Quarantine(_string(payload, "QUARANTINE"))


REPLY_READERS: Final[Mapping[int, Callable[[bytes], ev.Reply]]] = {
    c.SMFIC_OPTNEG: _negotiated,
    c.SMFIR_CONTINUE: _bare(ev.Continue),
    c.SMFIR_ACCEPT: _bare(ev.Accept),
    c.SMFIR_REJECT: _bare(ev.Reject),
    c.SMFIR_DISCARD: _bare(ev.Discard),
    c.SMFIR_TEMPFAIL: _bare(ev.Tempfail),
    c.SMFIR_PROGRESS: _bare(ev.Progress),
    c.SMFIR_SKIP: _bare(ev.Skip),
    c.SMFIR_CONN_FAIL: _bare(ev.ConnectionFail),
    c.SMFIR_SHUTDOWN: _bare(ev.Shutdown),
    c.SMFIR_REPLYCODE: _reply_code,
    c.SMFIR_ADDHEADER: _add_header,
    c.SMFIR_INSHEADER: _insert_header,
    c.SMFIR_CHGHEADER: _change_header,
    c.SMFIR_REPLBODY: ev.ReplaceBody,
    c.SMFIR_CHGFROM: _change_from,
    c.SMFIR_ADDRCPT: _add_recipient,
    c.SMFIR_ADDRCPT_PAR: _add_recipient_par,
    c.SMFIR_DELRCPT: _delete_recipient,
    c.SMFIR_QUARANTINE: _quarantine,
}
