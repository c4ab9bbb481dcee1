"""Steps of a scenario as events of an MTA, and what a filter must have received, as the scenario writes it."""

import re
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_

from tests.conformance.milter_children import LEADING_SPACE
from tests.conformance.milter_scenarios import Scenario, Step
from wire.milter import constants as c
from wire.milter import events as ev
from wire.milter import strip_brackets

ACTIONS = {
    "add-headers": c.SMFIF_ADDHDRS,
    "change-body": c.SMFIF_CHGBODY,
    "add-envelope-recipient": c.SMFIF_ADDRCPT,
    "delete-envelope-recipient": c.SMFIF_DELRCPT,
    "change-headers": c.SMFIF_CHGHDRS,
    "quarantine": c.SMFIF_QUARANTINE,
    "change-envelope-from": c.SMFIF_CHGFROM,
}
STEPS = {
    "none": 0,
    "no-connect": c.SMFIP_NOCONNECT,
    "no-helo": c.SMFIP_NOHELO,
    "no-envelope-from": c.SMFIP_NOMAIL,
    "no-envelope-recipient": c.SMFIP_NORCPT,
    "no-body": c.SMFIP_NOBODY,
    "no-headers": c.SMFIP_NOHDRS,
    "no-end-of-header": c.SMFIP_NOEOH,
    "no-data": c.SMFIP_NODATA,
    "skip": c.SMFIP_SKIP,
    "envelope-recipient-rejected": c.SMFIP_RCPT_REJ,
    LEADING_SPACE: c.SMFIP_HDR_LEADSPC,
}
COMMANDS = {
    "negotiate": c.SMFIC_OPTNEG,
    "connect": c.SMFIC_CONNECT,
    "helo": c.SMFIC_HELO,
    "envelope-from": c.SMFIC_MAIL,
    "envelope-recipient": c.SMFIC_RCPT,
    "data": c.SMFIC_DATA,
    "header": c.SMFIC_HEADER,
    "end-of-header": c.SMFIC_EOH,
    "body": c.SMFIC_BODY,
    "end-of-message": c.SMFIC_BODYEOB,
    "unknown": c.SMFIC_UNKNOWN,
    "abort": c.SMFIC_ABORT,
    "quit": c.SMFIC_QUIT,
}
_RECEIVED = {"connect": "infos", "helo": "fqdns", "envelope-from": "froms", "envelope-recipient": "recipients"}
_RECEIVED |= {"header": "headers", "body": "chunks", "unknown": "unknown_commands"}


def flags(table: dict[str, int], words: str) -> int:
    return reduce(or_, (table[word] for word in words.split("|")), 0)


def keeps_space(scenario: Scenario) -> bool:
    """Whether the manager would have negotiated values with their leading space."""
    return any(LEADING_SPACE in words.split("|") for words in scenario.children_say("negotiate-flags"))


def raw_field(step: Step, *, keeps_space: bool) -> tuple[bytes, bytes]:
    """The field as it stands in the message."""
    return step.text("name"), step.text("value") if keeps_space else b" " + step.text("value")


def macros(step: Step) -> tuple[tuple[bytes, bytes], ...]:
    words = [word.encode() for word in step.words("macro")]
    return tuple(zip(words[::2], words[1::2], strict=True))


def said(step: Step, *, field: tuple[bytes, bytes] = (b"", b"")) -> ev.Event:
    """What the MTA says; `field` is how it sends the header field of this step."""
    return _SAID[step.command](step) if step.command != "header" else ev.Header(*field)


def _negotiate(step: Step) -> ev.Negotiate:
    values = step.values
    return ev.Negotiate(int(values["version"]), flags(ACTIONS, values["action"]), flags(STEPS, values["step"]))


def _connect(step: Step) -> ev.Connect:
    found = re.fullmatch(r"inet:(\d+)@\[?([\d.]+)\]?", step.values["address"])
    assert found, step.values["address"]
    return ev.Connect(step.text("host"), c.SMFIA_INET, int(found[1]), found[2].encode())


_SAID: Mapping[str, Callable[[Step], ev.Event]] = {
    "negotiate": _negotiate,
    "connect": _connect,
    "helo": lambda step: ev.Helo(step.text("fqdn")),
    "envelope-from": lambda step: ev.Mail(b"<%b>" % step.text("from")),
    "envelope-recipient": lambda step: ev.Recipient(b"<%b>" % step.text("recipient")),
    "data": lambda _step: ev.Data(),
    "end-of-header": lambda _step: ev.EndOfHeaders(),
    "body": lambda step: ev.Body(step.text("chunk")),
    "end-of-message": lambda step: ev.EndOfBody(step.text("chunk")),
    "unknown": lambda step: ev.Unknown(step.text("unknown_command")),
    "abort": lambda _step: ev.Abort(),
    "quit": lambda _step: ev.Quit(),
}


def received(event: ev.Event) -> list[str]:
    """An event in the words of a scenario."""
    match event:
        case ev.Connect(hostname, _, port, address):
            return [hostname.decode(), f"inet:{port}@[{address.decode()}]"]
        case ev.Helo(text) | ev.Body(text) | ev.Unknown(text):
            return [text.decode()]
        case ev.Mail(address) | ev.Recipient(address):
            return [strip_brackets(address).decode()]
        case ev.Header(name, value):
            return [name.decode(), value.decode()]
    return []


def expected_at_filter(step: Step, event: ev.Event) -> list[str]:
    """What the first filter that got anything must have received; what the event says when that is not told."""
    own = received(event)
    told = step.words(_RECEIVED.get(step.command, ""))
    return told[: len(own)] or own


def macros_at_filter(step: Step) -> dict[bytes, bytes]:
    """The macros that each filter must have received."""
    words = [word.encode() for word in step.words("macros")]
    return dict(zip(words[::2], words[1::2], strict=True))


def not_said(step: Step) -> bool:
    """Nobody is left to hear it: an MTA does not say it."""
    return not step.status and step.values["error_code"] == "no-message-processing-milter"
