"""Examples and a model that knows nothing, for tests of learning."""

import zlib

import numpy as np

from actors.classifier.learning.bounds import SourceKind
from actors.classifier.learning.commonness import Commonness
from actors.classifier.learning.example import Example, Label
from actors.classifier.learning.layers import Rates, Slots
from actors.model import Message
from tests.fakes import NOW_S


def slots_of(text: str) -> Slots:
    """One slot for each word."""
    return np.unique(np.array([zlib.crc32(word.encode()) >> 12 for word in text.split()], np.uint32))


def even(slots: Slots) -> Rates:
    """All slots alike."""
    return np.full(len(slots), 255, np.uint8)


class Even(Commonness):
    """All slots alike, whoever has read what: so it does not matter which process trains."""

    def rates(self, slots: Slots) -> Rates:
        return even(slots)


def read(message: Message) -> tuple[Slots, float]:
    """A model that gives every message even odds."""
    return slots_of(message.body.decode()), 0.0


def example(text: str, label: Label = Label.SPAM, *, user: str = "", tenant: str = "", at_s: float = NOW_S) -> Example:
    kind = SourceKind.USER if user else SourceKind.TENANT if tenant else SourceKind.OPERATOR
    return Example(
        label=label,
        kind=kind,
        source=user or tenant or "root",
        tenant=tenant,
        user=user.encode(),
        header_block=b"Subject: test\r\n",
        body=text.encode(),
        at_s=at_s,
    )
