"""Hostile mail for the classifier, as the issue lists it; and mail that is padded with words of ham.

The pad is found with nothing but the model's answers: each word that ham of the corpus uses is appended to one plain
mail, and the strongest are those that lower the log-odds most.
"""

import base64
import binascii
import encodings.aliases
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from actors.classifier.corpus import Sample, as_message
from actors.model import Message

LogOdds = Callable[[Message], float]

MEGABYTE = 1_000_000
PAD_WORDS = 200
_WORD_USERS_MIN = 8
_PLAIN = "From: a@example.org\nTo: b@example.net\nSubject: hello\n\nhello, please read this and answer soon\n"


def empty_bodies() -> Iterator[Message]:
    """Nothing, or nothing behind the header section, or parts of nothing."""
    yield Message()
    for raw in (b"Subject: x\n\n", b"Subject: x\nContent-Type: text/html\n\n", b"\n", b"\n\n\n", b"Subject:\n \n\n"):
        yield as_message(raw)
    yield as_message(b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\n--b--\n')
    yield as_message(b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n")


def one_character() -> Iterator[Message]:
    """10 MB of the same, in one line and in many, as text and as HTML."""
    for kind in (b"plain", b"html"):
        for unit in (b"a", b" ", b"\n", b"<", b"&", b"=", b"\xe9", b"\0"):
            yield as_message(b"Subject: x\nContent-Type: text/%b\n\n%b" % (kind, unit * (10 * MEGABYTE)))
    yield as_message(b"Subject: " + b"x" * (10 * MEGABYTE) + b"\n\nx\n")


def links() -> Iterator[Message]:
    """100,000 links, as text and as HTML."""
    urls = [f"http://host{number}.example/path?x={number}" for number in range(100_000)]
    yield as_message(b"Subject: x\n\n" + "\n".join(urls).encode())
    page = "".join(f'<a href="{url}">{url[:12]}</a> ' for url in urls)
    yield as_message(b"Subject: x\nContent-Type: text/html\n\n" + page.encode())


def nested() -> Iterator[Message]:
    """Multiparts and messages inside each other, to the caps and far beyond."""
    for depth in (20, 50, 500, 5000):
        heads = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(depth))
        yield as_message(f"Subject: x\n{heads}Content-Type: text/plain\n\ntext\n".encode())
        yield as_message(b"Subject: x\n" + b"Content-Type: message/rfc822\n\n" * depth + b"Subject: y\n\ntext\n")
    parts = "".join(f"--b\nContent-Type: text/plain\n\npart {number}\n" for number in range(20_000))
    yield as_message(f'Subject: x\nContent-Type: multipart/mixed; boundary="b"\n\n{parts}--b--\n'.encode())


def charsets() -> Iterator[Message]:
    """Text in every charset that Python has, in charsets that nobody has, in none, and in the wrong one."""
    text = "Zażółć gęślą jaźń, съешь ещё этих булок, 私はガラスを食べられます, buy now"
    for name in sorted(set(encodings.aliases.aliases.values())):
        head = f"Subject: x\nContent-Type: text/plain; charset={name}\n\n".encode()
        try:
            body = text.encode(name, "replace")
        except (LookupError, ValueError, TypeError):
            body = text.encode()
        for content in (body, bytes(range(256)) * 4):
            yield as_message(head + content)
    for name in ("nosuch", "", '"', "utf-8; charset=utf-16", "x" * 5000, "\\0", "unicode_escape", "idna"):
        yield as_message(f"Subject: =?{name[:40]}?q?=e9=ff?=\nContent-Type: text/plain; charset={name}\n\n".encode())
    yield as_message(b"Subject: \xff\xfe\n\n" + text.encode())
    yield as_message(text.encode("utf-16"))


BAD_INPUT: dict[str, Callable[[], Iterator[Message]]] = {
    "bad_empty_bodies_ms": empty_bodies,
    "bad_10_mb_of_one_character_ms": one_character,
    "bad_100000_links_ms": links,
    "bad_nested_multiparts_ms": nested,
    "bad_every_charset_and_none_ms": charsets,
}
"""Line to its messages; the figure is the CPU time of the dearest."""


def strongest_ham_words(log_odds: LogOdds, ham: Iterable[Sample], count: int = PAD_WORDS) -> list[str]:
    """The words of ham that lower the log-odds of a plain mail most, strongest first."""
    users: Counter[str] = Counter()
    for sample in ham:
        text = as_message(sample.raw).body.decode("latin-1").lower().split()
        users.update({word for word in text if 3 <= len(word) <= 20 and word.isascii() and word.isalpha()})
    words = sorted(word for word, number in users.items() if number >= _WORD_USERS_MIN)
    return sorted(words, key=lambda word: log_odds(as_message(f"{_PLAIN}{word}\n".encode())))[:count]


def padded(message: Message, words: list[str]) -> Message:
    """The message with these words as its last text, where a reader's program shows it."""
    lines = [" ".join(words[begin : begin + 10]) for begin in range(0, len(words), 10)]
    pad = "\r\n".join(["", *lines, ""]).encode()
    fields = {name: rows[0][1].lower() for name, rows in message.fields_by_name.items()}
    kind = fields.get(b"content-type", b"text/plain")
    end = message.body.rstrip().rfind(b"\n--")
    if b"multipart/" in kind and end >= 0:
        boundary = message.body[end + 3 :].partition(b"\n")[0].strip().removesuffix(b"--")
        part = b"\n--%b\r\nContent-Type: text/plain\r\n\r\n%b" % (boundary, pad)
        body = message.body[:end] + part + message.body[end:]
    elif b"base64" in fields.get(b"content-transfer-encoding", b""):
        body = _base64_with(message.body, pad)
    else:
        body = message.body + (b"<p>%b</p>" % pad if b"text/html" in kind else pad)
    return Message(message.envelope, message.header_block, body)


def _base64_with(body: bytes, pad: bytes) -> bytes:
    try:
        return base64.encodebytes(base64.b64decode(body) + pad).replace(b"\n", b"\r\n")
    except binascii.Error:
        return body
