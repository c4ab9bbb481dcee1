"""Reads Authentication-Results (RFC 8601 section 2.2) that others wrote: a hop before us, or who sealed.

Strategy: comments become spaces in one pass over the field, then each part between semicolons is a run of `key=value`,
read from left to right. No recursion: authres 1.2.0 raises RecursionError for 2,000 parentheses. A tolerant reader,
as values without the quotes that they need are common: one ends at white space or semicolon.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from actors.decide.authres import claims_to_be, read_authserv_id

FIELD_BYTES_MAX = 8192
RESULTS_MAX = 100
"""Of one field, and properties of one result; honest ones have some ten."""

_PIECE = re.compile(r'\\.|[()"\\]|[^()"\\]++', re.DOTALL)
_PART = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^";]++)*+', re.DOTALL)
_PAIR = re.compile(
    r'\s*+([^\s=;"./]++(?:\s*+[./]\s*+[^\s=;"./]++)*+)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^\s";]++)', re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class ResultsError(Exception):
    """The field cannot be read; the text is the reason."""


class MethodResult(msgspec.Struct, frozen=True):
    """One resinfo: what a method said, and about what."""

    method: str
    """Lower case, without its version."""
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    """(`ptype.property` in lower case, value)."""

    def value(self, name: str) -> str:
        """Of the first property of this name; "" when it has none."""
        return next((value for one, value in self.properties if one == name), "")


class Results(msgspec.Struct, frozen=True):
    """One field."""

    authserv_id: str
    results: tuple[MethodResult, ...] = ()


def parse_results(value: bytes) -> Results:
    """The body of one field. Raises ResultsError."""
    if len(value) > FIELD_BYTES_MAX:
        raise ResultsError("the field is too long")
    authserv_id = read_authserv_id(value)
    if authserv_id is None:
        raise ResultsError("no authserv-id")
    _, *parts = _parts(_without_comments(value.decode("utf-8", "replace")))
    if len(parts) > RESULTS_MAX:
        raise ResultsError("too many results")
    told = [part for part in parts if part.strip() and part.strip().lower() != "none"]
    return Results(authserv_id.decode("utf-8", "replace"), tuple(map(_result, told)))


def sealed_results(values: Iterable[bytes], authserv_id: str) -> bytes:
    """The body of an ARC-Authentication-Results behind its i=: what all fields of this id say (RFC 8617 section 5.1).

    `values` are bodies of Authentication-Results in order. Results are taken as they were written, comments included;
    a field that cannot be read vouches for nothing and is left out.
    """
    ours, told = authserv_id.encode("utf-8"), []
    for value in values:
        try:
            known = claims_to_be(value, (ours.lower().rstrip(b"."),)) and parse_results(value).results
        except ResultsError:
            continue
        if known:
            told.append(_after_id(value))
    return ours + b"; " + (b";\r\n\t".join(told) or b"none")


def _after_id(value: bytes) -> bytes:
    """The results as written; a semicolon inside a comment or quotes before them is no end of the id."""
    text = value.decode("utf-8", "surrogateescape")
    for start, piece, in_quotes in _outside_comments(text):
        if not in_quotes and ";" in piece:
            return text[start + piece.index(";") + 1 :].strip(" \t\r\n;").encode("utf-8", "surrogateescape")
    return b""


def _without_comments(text: str) -> str:
    return "".join(piece for _, piece, _ in _outside_comments(text))


def _outside_comments(text: str) -> Iterator[tuple[int, str, bool]]:
    """(offset, piece, whether it is inside quotes) of all but comments, which are a space. Raises ResultsError."""
    depth, in_quotes = 0, False
    for match in _PIECE.finditer(text):
        piece = match[0]
        if depth:
            depth += {"(": 1, ")": -1}.get(piece, 0)
            continue
        if piece == "(" and not in_quotes:
            depth = 1
            yield match.start(), " ", False
            continue
        yield match.start(), piece, in_quotes
        in_quotes ^= piece == '"'
    if depth or in_quotes:
        raise ResultsError("a comment or quotes do not end")


def _parts(text: str) -> Sequence[str]:
    """What stands between semicolons outside quotes. Raises ResultsError for quotes that do not end."""
    parts, at = [], 0
    while True:
        match = _PART.match(text, at)
        end = match.end() if match else at
        parts.append(text[at:end])
        if end == len(text):
            return parts
        if text[end] != ";":
            raise ResultsError("quotes do not end")
        at = end + 1


def _result(part: str) -> MethodResult:
    pairs, at = [], 0
    while match := _PAIR.match(part, at):
        pairs.append(("".join(match[1].split()).lower(), _unquoted(match[2])))
        at = match.end()
    if not pairs or part[at:].strip() or len(pairs) > RESULTS_MAX:
        raise ResultsError("a result is not written as method=result")
    (method, result), *others = pairs
    reason = next((value for name, value in others if name == "reason"), "")
    properties = tuple((name, value) for name, value in others if "." in name)
    return MethodResult(method.partition("/")[0], result.lower(), reason, properties)


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text
