"""Mutations of a message as senders of spam make them, seeded; and texts that are made for this."""

import random
import re
from collections.abc import Callable
from typing import Final

from actors.model import Message

_SYLLABLES: Final = re.findall("..", "bacedifogulameniporusatevixozuanelisorut")
_HOMOGLYPHS: Final = str.maketrans("aeopcyxi", "аеорсухі")  # noqa: RUF001  that is what they are


def vocabulary(seed: int, count: int = 800) -> list[str]:
    """Words that no other seed has many of."""
    made = random.Random(seed)
    return ["".join(made.choices(_SYLLABLES, k=made.randint(2, 4))) for _ in range(count)]


def template(seed: int, word_count: int = 150) -> list[str]:
    """A text of the frequencies of a language: few words often, many once."""
    made = random.Random(seed)
    known = vocabulary(seed % 7)
    return [known[min(int(made.paretovariate(0.7)) - 1, len(known) - 1)] for _ in range(word_count)]


def mail(text: list[str], recipient: str = "Bob <bob@example.org>", subject: str = "offer for you") -> Message:
    """A plain message of these words."""
    lines = [" ".join(text[at : at + 12]) for at in range(0, len(text), 12)]
    head = (
        f"From: a@example.net\r\nTo: {recipient}\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    )
    return Message(header_block=head.encode(), body="\r\n".join(lines).encode())


def html_mail(text: list[str]) -> Message:
    """The same as HTML with a link."""
    body = (
        f'<html><body><p class="x">{" ".join(text)}</p><a href="http://shop.example/{len(text)}">go</a></body></html>'
    )
    head = "To: x@example.org\r\nSubject: offer for you\r\nContent-Type: text/html; charset=utf-8\r\n"
    return Message(header_block=head.encode(), body=body.encode())


def replaced(share: float) -> Callable[[list[str], random.Random], list[str]]:
    """This share of the words is replaced by others."""

    def mutate(text: list[str], by: random.Random) -> list[str]:
        others = vocabulary(by.randrange(1000, 2000), 100)
        return [by.choice(others) if by.random() < share else word for word in text]

    return mutate


def padded(share: float) -> Callable[[list[str], random.Random], list[str]]:
    """So many words more, in front, behind and in one block within."""

    def mutate(text: list[str], by: random.Random) -> list[str]:
        others = vocabulary(by.randrange(1000, 2000), 400)
        blocks = [by.choices(others, k=int(len(text) * share / 3)) for _ in range(3)]
        at = by.randrange(len(text))
        return blocks[0] + text[:at] + blocks[1] + text[at:] + blocks[2]

    return mutate


def personal(text: list[str], by: random.Random) -> list[str]:
    """Other URLs, amounts, codes and names in every tenth place."""

    def one() -> str:
        code = by.randrange(10**6)
        return by.choice([f"http://h{code}.example/{code:x}", f"${code}", f"ref-{code:x}9", f"u{code}@example.com"])

    named = ["dear", by.choice(vocabulary(77)), *text]
    return [piece for number, word in enumerate(named) for piece in ([word, one()] if number % 10 == 0 else [word])]


def homoglyphs(text: list[str], by: random.Random) -> list[str]:
    """Half of the words with Cyrillic letters, some with zero-width spaces."""
    return [
        word.translate(_HOMOGLYPHS) if by.random() < 0.5 else "\u200b".join(word) if by.random() < 0.3 else word
        for word in text
    ]


MUTATIONS: Final[dict[str, Callable[[list[str], random.Random], list[str]]]] = {
    "3 % of words replaced": replaced(0.03),
    "10 % of words replaced": replaced(0.10),
    "30 % padding": padded(0.30),
    "URLs, names, numbers": personal,
    "homoglyphs": homoglyphs,
    "5 % replaced, 20 % padding, personal, homoglyphs": lambda text, by: homoglyphs(
        personal(padded(0.2)(replaced(0.05)(text, by), by), by), by
    ),
}
HARD_MUTATIONS: Final = {
    "20 % of words replaced": replaced(0.20),
    "60 % padding": padded(0.60),
    "100 % padding": padded(1.0),
}
"""Not always found."""
