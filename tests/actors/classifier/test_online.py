import math
import random

import pytest

from actors.classifier.corpus import Sample, as_message
from actors.classifier.online import OnlineRegression, in_date_order, received_at, run

RECEIVED = b"Received: from a by b (8.12) with ESMTP id x;\n\tThu, 22 Aug 2002 07:36:16 -0400 (EDT)\n"
MBOX = b"From someone@example.net  Thu Aug 22 12:36:23 2002\n"
DATE = b"Date: Thu, 22 Aug 2002 18:26:25 +0700\n"


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (MBOX + RECEIVED + DATE + b"\nx", 1030016176),
        (MBOX + DATE + b"\nx", 1030019783),
        (DATE + b"\nx", 1030015585),
        (b"Received: by x; not a date\n" + DATE + b"\nx", 1030015585),
        (b"Received: by x; not a date\r\n" + RECEIVED.replace(b"\n", b"\r\n") + b"\r\n", 1030016176),
        (b"Date: Thu, 22 Aug 99999999999999 18:26:25 +0700\n\nx", math.inf),
        (b"Subject: x\n\n" + DATE, math.inf),
        (b"", math.inf),
    ],
)
def test_a_message_is_dated_by_who_received_it(raw, seconds):
    assert received_at(raw) == seconds


def test_date_order_has_what_is_undated_last():
    dated = [Sample("", DATE.replace(b"2002", year) + b"\nx", spam=False) for year in (b"2004", b"2003")]
    undated = Sample("", b"\n", spam=True)
    assert in_date_order([undated, *dated]) == [dated[1], dated[0], undated]


def test_every_message_is_scored_before_it_is_learned():
    said = []

    class Told:
        def score(self, message):
            said.append(("score", message))
            return 1.0

        def learn(self, message, spam):
            said.append(("learn", message, spam))

    messages = [(as_message(b"Subject: a\n\nx\n"), True), (as_message(b"Subject: b\n\ny\n"), False)]
    assert list(run(Told(), messages)) == [1.0, 1.0]
    first, second = (message for message, _ in messages)
    assert said == [("score", first), ("learn", first, True), ("score", second), ("learn", second, False)]


def mail(spam: bool, draw: random.Random):  # noqa: FBT001
    words = "prize money winner offer click" if spam else "patch compiler kernel commit review"
    text = " ".join(draw.choices(words.split(), k=8) + draw.choices(list("abcdefghij"), k=20))
    return as_message(f"Subject: hello\n\n{text}\n".encode())


def test_what_can_be_learned_is_learned_within_a_few_messages():
    draw = random.Random(1)
    messages = [(mail(spam, draw), spam) for spam in (True, False) * 40]
    scores = list(run(OnlineRegression(), messages))
    assert scores[0] == 0
    assert all((score > 0) is spam for score, (_, spam) in zip(scores[40:], messages[40:], strict=True))


def test_what_shares_little_with_what_was_learned_gets_little_of_its_verdict():
    draw = random.Random(1)
    learner = OnlineRegression()
    for _ in range(100):
        learner.learn(mail(True, draw), True)
    known = learner.score(mail(True, draw))
    unknown = learner.score(as_message(b"X: y\n\n" + bytes(range(0x80, 0xFF)) * 3))
    assert 0 < unknown < known / 4


def test_learning_the_same_gives_the_same_scores():
    def scores():
        draw = random.Random(2)
        return list(run(OnlineRegression(), [(mail(spam, draw), spam) for spam in (True, False) * 10]))

    assert scores() == scores()
