import pytest

from actors.classifier.corpus import Sample, is_held_out


def mail(subject: str, body: str) -> bytes:
    mbox_line = "From someone@example.net  Thu Aug 22 12:36:23 2002\n"
    return f"{mbox_line}From: A <a@example.net>\nSubject: {subject}\n\n{body}\n".encode()


SPAM_TEXT = "click here to claim your free prize money now limited offer guaranteed winner"
HAM_TEXT = "the compiler patch failed to build on my machine so i reverted that change yesterday"


def samples(text: str, *, spam: bool, count: int) -> list[Sample]:
    """Mails of the same words in other orders, so that they fall on both sides of the split."""
    folder = "spam" if spam else "easy_ham"
    words = text.split()
    found = []
    for number in range(count):
        turned = words[number % len(words) :] + words[: number % len(words)]
        filler = f"number{'abcdefghij'[number % 10]}{'klmnopqrst'[number // 10 % 10]} word"
        found.append(Sample(folder, mail(" ".join(turned[:3]), f"{filler} {' '.join(turned)} {filler}"), spam))
    return found


@pytest.fixture(scope="session")
def corpus() -> list[Sample]:
    """A small corpus that is easy to learn, with both kinds on both sides."""
    made = samples(SPAM_TEXT, spam=True, count=60) + samples(HAM_TEXT, spam=False, count=60)
    sides = {(sample.spam, is_held_out(sample.raw)) for sample in made}
    assert len(sides) == 4
    return made
