"""Authentication-Results (RFC 8601): write ours, remove those that claim to be ours.

Written with own code, since authres 1.2.0 copies CR LF inside a property into the message, and knows no folding; it
is the oracle in the tests. Reading it costs 2 ms there and recurses into comments; here only the authserv-id is
read, once however many ids are ours, in steps from one parenthesis to the next, of which there may be fifty. An id
that two readers might read differently is no foreign one: the field goes when ours could be meant, or when telling
would be too much work.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from actors.config import HeadersConfig
from actors.decide.fields import fields_named, fold, pvalue, quoted
from actors.model import DeleteHeader, Direction, Edit, Finding, InsertHeader, Message, Outcome

FIELD = "Authentication-Results"

_DKIM_NAMES = ("dkim", "unsigned")
_DKIM_RESULTS_MAX = 20
_REASON_CHARS_MAX = 80
_DKIM_PROPERTIES = ("header.d", "header.i", "header.s", "header.a", "header.b")
_ARC_PROPERTIES = ("header.oldest-pass", "smtp.remote-ip")
_RESULTS = {
    outcome: outcome.value
    for outcome in (
        Outcome.NONE,
        Outcome.PASS,
        Outcome.FAIL,
        Outcome.SOFTFAIL,
        Outcome.NEUTRAL,
        Outcome.POLICY,
        Outcome.TEMPERROR,
        Outcome.PERMERROR,
    )
} | {Outcome.ERROR: "temperror"}
_WITH_REASON = (Outcome.FAIL, Outcome.POLICY, Outcome.TEMPERROR, Outcome.PERMERROR)

_FIELDS_READ_MAX = 50
"""Fields whose id is read; all further ones are removed (RFC 8601 section 5 allows it), no honest mail has so many."""
_MARKS_MAX = 50
"""Parentheses and backslashes in comments around the id, and in all of a body without readable id."""
_UNREADABLE_BYTES_MAX = 4096
"""A longer body without readable id is removed, as is one with more marks: no honest one is like that."""
_HEAD_BYTES_MAX = 512
"""Of that, before the first semicolon: looking for our id there costs most, each honest name has at most 255."""
_MARK = re.compile(rb"[()\\]")
_NOT_BLANK = re.compile(rb"[^ \t\r\n]")
_TOKEN = re.compile(rb"[^\x00-\x20\x7f()<>@,;:\\\"\[\]?=]+")
"""With slashes, which RFC 2045 has in quotes only: OpenDKIM writes its queue's id behind one without."""
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.){0,255}+)"', re.DOTALL)
_DIGITS = re.compile(rb"[0-9]++")
_PLAIN_ID = re.compile(rb"[^\x00-\x20\x7f-\xff()<>@,;:\\\"\[\]?=]+")
"""As a token of ASCII: what every reader takes as it stands, in quotes, too."""
_COMMENT_PIECE = re.compile(rb"[^()\\]++|\\.|[()\\]", re.DOTALL)
_OVERLOOKED = rb'[\x00-\x20\x7f"\\]*+'
"""Blanks, controls and quoting: what a tolerant reader may step over inside an id."""
_NOTHING_YET = re.compile(rb'(?:[\x00-\x20\x7f"\\;]++|i[ \t]?=[ \t]?[0-9]++[ \t]?;)*+', re.IGNORECASE)
"""In front of an id, with the instance of ARC-Authentication-Results: what a tolerant reader may step over there."""


def authentication_results_edits(
    findings: Sequence[Finding], dmarc: Finding | None, message: Message, headers: HeadersConfig
) -> tuple[tuple[DeleteHeader, ...], tuple[Edit, ...]]:
    """(deletions of forged fields, insertion of ours at the top)."""
    envelope = message.envelope
    authserv_id = headers.authserv_id or envelope.mta_name or "localhost"
    forged = tuple(forged_fields(message, (authserv_id, *headers.removed_authserv_ids)))
    if not headers.authentication_results or envelope.direction is Direction.OUTBOUND:
        return forged, ()
    if headers.authserv_id_with_queue_id and envelope.queue_id:
        authserv_id = f"{authserv_id}/{envelope.queue_id}"
    return forged, (InsertHeader(0, FIELD.encode("ascii"), field_body(authserv_id, findings, dmarc)),)


def field_body(authserv_id: str, findings: Sequence[Finding], dmarc: Finding | None) -> bytes:
    """The field's body (RFC 8601 section 2.2), folded, one result a line; `none` when nothing was checked."""
    results = [*_results(findings, dmarc)]
    if not results:
        return fold(FIELD, [[f"{pvalue(authserv_id)};", "none"]])
    closed = [[*words[:-1], f"{words[-1]};"] for words in results[:-1]]
    return fold(FIELD, [[f"{pvalue(authserv_id)};"], *closed, results[-1]])


def _results(findings: Sequence[Finding], dmarc: Finding | None) -> Iterator[list[str]]:
    """The words of each resinfo: spf, each DKIM signature, dmarc, arc."""
    told = [finding for finding in findings if finding.outcome in _RESULTS]
    for finding in [f for f in told if f.actor == "policy" and f.name == "spf"][:1]:
        yield _words("spf", finding, ("smtp.mailfrom", "smtp.helo"))
    for finding in [f for f in told if f.actor == "dkim" and f.name in _DKIM_NAMES][:_DKIM_RESULTS_MAX]:
        yield _words("dkim", finding, _DKIM_PROPERTIES)
    if dmarc is not None:
        yield _words("dmarc", dmarc, ("header.from", "policy.dmarc"))
    for finding in [f for f in told if f.actor == "dkim" and f.name == "arc"][:1]:
        yield _words("arc", finding, _ARC_PROPERTIES)


def _words(method: str, finding: Finding, properties: Iterable[str]) -> list[str]:
    words = [f"{method}={_RESULTS[finding.outcome]}"]
    if finding.detail and finding.outcome in _WITH_REASON:
        words.append(f"reason={quoted(finding.detail[:_REASON_CHARS_MAX])}")
    for name in properties:
        value = finding.facts.get(name)
        if value:
            words.append(f"{name}={pvalue(value)}")
    return words


def forged_fields(message: Message, authserv_ids: Iterable[str]) -> Iterator[DeleteHeader]:
    """Authentication-Results fields that came with the message and bear an id of ours, last first (RFC 8601 section 5).

    A name that is folded before its colon makes the MTA's count uncertain: then all go.
    """
    ours = [authserv_id.encode("ascii", "replace").lower().rstrip(b".") for authserv_id in authserv_ids]
    own_name = FIELD.lower().encode("ascii")
    fields = fields_named(message, own_name)
    everybodys = b"*" in ours or any(not name for name, _ in fields)
    found = [
        DeleteHeader(name or FIELD.encode("ascii"), occurrence)
        for occurrence, (name, value) in enumerate(fields, start=1)
        if everybodys or occurrence > _FIELDS_READ_MAX or claims_to_be(value, ours)
    ]
    return reversed(found)


def claims_to_be(value: bytes, ours: Collection[bytes]) -> bool:
    """Whether an Authentication-Results body bears an id of `ours` (lower case), as any reader might read it.

    One that begins with a dot is every id below that domain.
    """
    found = read_authserv_id(value)
    if found is None or not _PLAIN_ID.fullmatch(found):
        return _could_claim(value, ours)
    whole = found.lower().strip(b"/")
    # Behind a slash stands the queue's id, as we and OpenDKIM write it.
    names = {name.rstrip(b".") for name in (whole, whole.partition(b"/")[0], whole.rpartition(b"/")[2])}
    return any(name.endswith(one) if one.startswith(b".") else name == one for one in ours for name in names)


def _could_claim(value: bytes, ours: Collection[bytes]) -> bool:
    """Whether a body without readable id is to be taken for a forgery.

    It is when ours stands in front of the results, or what stands there is encoded or not ASCII.
    """
    if len(value) > _UNREADABLE_BYTES_MAX or sum(map(value.count, (b"(", b")", b"\\"))) > _MARKS_MAX:
        return True
    heads = [_head(text) for text in (value, _without_comments(value))]
    if any(b"=?" in head or len(head) > _HEAD_BYTES_MAX for head in heads) or not heads[1].isascii():
        return True
    return any(_standing(one).search(head) for head in heads for one in ours)


def _head(text: bytes) -> bytes:
    """What stands before the results."""
    start = _NOTHING_YET.match(text)
    return text[start.end() if start else 0 :].partition(b";")[0]


@lru_cache(maxsize=256)
def _standing(authserv_id: bytes) -> re.Pattern[bytes]:
    """An id of ours that is no part of a longer name, however it is written."""
    before = b"" if authserv_id.startswith(b".") else rb"(?<![\w-])(?<![\w-]\.)"
    spelt = _OVERLOOKED.join(re.escape(authserv_id[at : at + 1]) for at in range(len(authserv_id)))
    return re.compile(before + spelt + rb"(?!\.*+[\w-])", re.IGNORECASE)


def _without_comments(value: bytes) -> bytes:
    depth, kept = 0, []
    for match in _COMMENT_PIECE.finditer(value):
        piece = match[0]
        if piece == b"(":
            depth += 1
        elif piece == b")":
            depth = max(depth - 1, 0)
        elif not depth:
            kept.append(piece)
    return b"".join(kept)


def read_authserv_id(value: bytes) -> bytes | None:
    """The authserv-id of a field body: token or quoted-string after any comments; None when the syntax is broken."""
    start = _skip_cfws(value, 0)
    if start is None:
        return None
    match = _QUOTED.match(value, start)
    if match:
        authserv_id = re.sub(rb"\\(.)", rb"\1", match[1].replace(b"\r\n", b""), flags=re.DOTALL)
    else:
        match = _TOKEN.match(value, start)
        if not match:
            return None
        authserv_id = match[0]
    after = _skip_cfws(value, match.end())
    if after is None:
        return None
    version = _DIGITS.match(value, after)
    end = _skip_cfws(value, version.end() if version else after)
    return authserv_id if end is not None and value[end : end + 1] in (b"", b";") else None


def _skip_cfws(value: bytes, at: int) -> int | None:
    """The position after white space and (nested) comments; None when they do not end, or have too many marks."""
    depth = 0
    for _ in range(_MARKS_MAX):
        match = (_MARK if depth else _NOT_BLANK).search(value, at)
        if match is None:
            return None if depth else len(value)
        at = match.end()
        if match[0] == b"(":
            depth += 1
        elif not depth:
            return match.start()
        elif match[0] == b")":
            depth -= 1
        else:
            at += 1
    return None
