"""What a milter's edits make of a message: header section, body and envelope as Postfix would queue them.

Strategy: edits are carried out one by one, each on the result of those before it (so does Postfix; a deleted field no
longer counts as an occurrence). Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from wire.milter import events as ev
from wire.milter import folds_to_crlf, strip_brackets

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Mail:
    """A message with its envelope; header values are as after the colon, folds CRLF; addresses have no brackets."""

    sender: bytes
    recipients: tuple[bytes, ...]
    fields: Fields = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def raw(self) -> bytes:
        """The message as on the wire."""
        return b"".join(b"%b:%b\r\n" % pair for pair in self.fields) + b"\r\n" + self.body


def apply_edits(mail: Mail, edits: Iterable[ev.Edit], *, leading_space: bool) -> Mail:
    """The message after all edits; `leading_space`: values bring their own space (SMFIP_HDR_LEADSPC)."""
    chunks: list[bytes] = []
    space = b"" if leading_space else b" "
    for edit in edits:
        match edit:
            case ev.AddHeader(name, value):
                mail = replace(mail, fields=(*mail.fields, (name, space + folds_to_crlf(value))))
            case ev.InsertHeader(index, name, value):
                new = (name, space + folds_to_crlf(value))
                mail = replace(mail, fields=(*mail.fields[:index], new, *mail.fields[index:]))
            case ev.ChangeHeader(occurrence, name, value):
                text = space + folds_to_crlf(value) if value else b""
                mail = replace(mail, fields=_change(mail.fields, max(occurrence, 1), name, text))
            case ev.ReplaceBody(chunk):
                chunks.append(chunk)
            case ev.ChangeFrom(address, _):
                mail = replace(mail, sender=strip_brackets(address))
            case ev.AddRecipient(address) | ev.AddRecipientPar(address, _):
                mail = replace(mail, recipients=(*mail.recipients, strip_brackets(address)))
            case ev.DeleteRecipient(address):
                gone = strip_brackets(address)
                mail = replace(mail, recipients=tuple(kept for kept in mail.recipients if kept != gone))
            case ev.Quarantine():
                pass
    return replace(mail, body=b"".join(chunks)) if chunks else mail


def _change(fields: Fields, occurrence: int, name: bytes, value: bytes) -> Fields:
    """Replace, delete (empty value), or append when there is no such field, as Postfix does."""
    wanted = name.lower()
    places = [place for place, (field_name, _) in enumerate(fields) if field_name.lower() == wanted]
    if len(places) < occurrence:
        return (*fields, (name, value)) if value else fields
    place = places[occurrence - 1]
    return (*fields[:place], *([(name, value)] if value else ()), *fields[place + 1 :])
