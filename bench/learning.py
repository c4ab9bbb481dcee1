"""What learning costs: CPU of a lesson and of its parts, and the memory of a replica with a thousand tenants.

Usage: python -m bench.learning [MAIL_FILE...]; without files a message of 6 kB is made up.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from actors.classifier import features, model
from actors.classifier.corpus import as_message
from actors.classifier.learning.bounds import Bounds, Spent
from actors.classifier.learning.commonness import Commonness
from actors.classifier.learning.example import Label
from actors.classifier.learning.layers import SHARED, Layer, tenant_layer, user_layer
from actors.classifier.learning.lesson import Case, Lesson, Limits, learn
from actors.classifier.learning.scope import contributions
from actors.classifier.learning.weights import Weights
from actors.model import Envelope, Message, Recipient

TENANTS = 1000
ROUNDS = 200
LIMITS = Limits(Bounds(1_000_000, 1e9), Spent(), 160 << 20)


def made_up() -> Message:
    """Words of random letters, 6 kB."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(1000)]
    return as_message(b"From: a@b.example\r\nSubject: words\r\n\r\n" + " ".join(words).encode()[:6000])


def cpu_us(work: Callable[[], object]) -> float:
    """Median of ROUNDS."""
    took = []
    for _ in range(ROUNDS):
        started_ns = time.thread_time_ns()
        work()
        took.append(time.thread_time_ns() - started_ns)
    return sorted(took)[ROUNDS // 2] / 1000


def rss_mb() -> float:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def show_costs(message: Message, spam: model.SpamModel) -> None:
    """Of one message."""
    weights, commonness = Weights(1 << 30), Commonness()
    slots = features.grams(message).distinct
    shares = {user_layer("acme", b"a@acme.example"): 1.0, tenant_layer("acme"): 0.25}

    def lesson() -> Lesson:
        commonness.note(slots)
        return learn(weights, Case(slots, commonness.rates(slots), 0.0, Label.SPAM, shares, {}), LIMITS)

    def lesson_from_mail() -> None:
        grams = features.grams(message)
        spam.probability(grams)
        found = grams.distinct
        learn(weights, Case(found, commonness.rates(found), 0.0, Label.SPAM, shares, {}), LIMITS)

    delta = lesson().delta

    def apply() -> None:
        after = weights.position.after(delta)
        weights.apply(after.number, after.chain, delta)

    envelope = Envelope(recipients=(Recipient(b"a@acme.example", tenant="acme"),))
    print(f"message of {len(message.raw)} bytes, {len(slots)} slots, delta of {len(delta)} bytes")
    print(f"  lesson on two layers, slots known {cpu_us(lesson):8.0f} us")
    print(f"  lesson from the mail on           {cpu_us(lesson_from_mail):8.0f} us")
    print(f"  applying a delta                  {cpu_us(apply):8.0f} us")
    print(f"  three layers in scoring           {cpu_us(lambda: contributions(weights, slots, envelope)):8.0f} us")
    print(f"  counting how common its slots are {cpu_us(lambda: commonness.note(slots)):8.0f} us")


def main() -> None:
    empty_mb = rss_mb()
    spam, _ = model.load(model.SHIPPED_MODEL)
    base_mb = rss_mb()
    messages = [as_message(Path(name).read_bytes()) for name in sys.argv[1:]] or [made_up()]
    for message in messages:
        show_costs(message, spam)
    slots = features.grams(messages[0]).distinct
    weights = Weights(1 << 30)
    rates = Commonness().rates(slots)
    for number in range(TENANTS):
        # Base odds far off, so that each tenant has something to learn.
        case = Case(slots, rates, -10.0, Label.SPAM, {tenant_layer(f"tenant{number}"): 1.0}, {})
        payload = learn(weights, case, LIMITS).delta
        after = weights.position.after(payload)
        weights.apply(after.number, after.chain, payload)
    weights.put(SHARED, Layer.empty(SHARED))
    for layer in weights.layers.values():
        layer.table += 1  # Every page is there.
    commonness = Commonness()
    commonness._with_slot += 1  # noqa: SLF001
    print(
        f"{TENANTS} tenants: layers {weights.size_bytes / 1e6:.0f} MB, model {base_mb - empty_mb:.0f} MB, "
        f"process {empty_mb:.0f} MB before, {rss_mb():.0f} MB after"
    )


if __name__ == "__main__":
    main()
