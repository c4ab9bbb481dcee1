"""3,227 real signed mails: every DKIM signature and ARC chain is judged as it was when it came.

The clock is the time of the topmost Received field, as in `tamis scan --now message`, since most x= are long over.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import Random

import pytest

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.dkim.signature import field_tags
from actors.model import Envelope, Finding, Message, Outcome, Stage
from cli.mail_file import dates, read_mail_file
from tests.fakes import FakeClock, FakeResolver, budget

pytestmark = [pytest.mark.data, pytest.mark.timeout(300)]

EXPECTED = {"pass": Outcome.PASS, "fail": Outcome.FAIL, "err:body hash mismatch": Outcome.FAIL}
DKIM_SIGNATURES, PASSING_SIGNATURES, ARC_CHAINS = 2656, 2633, 2362
WORD = re.compile(rb"[0-9A-Za-z]")


@pytest.fixture(scope="module")
def data(corpora: Path) -> Path:
    return corpora / "signed_mail"


@pytest.fixture(scope="module")
def actor(data: Path) -> DkimActor:
    lines = (data / "keys.tsv").read_text(encoding="utf-8").splitlines()
    keys = FakeResolver("\n".join("\tTXT\t".join(line.split("\t", 1)) for line in lines))
    return DkimActor(DkimConfig(), keys, FakeClock())


def message_of(path: Path) -> Message:
    mail = read_mail_file(path)
    received = parsedate_to_datetime(next(dates(mail.header_block)).decode("latin-1")).timestamp()
    return Message(Envelope(received_at_s=received), mail.header_block, mail.body)


async def examine(actor: DkimActor, path: Path) -> list[Finding]:
    return list(await actor.examine(Stage.MESSAGE, message_of(path), budget()))


async def outcomes(actor: DkimActor, message: Message) -> list[Outcome]:
    found = await actor.examine(Stage.MESSAGE, message, budget())
    return [one.outcome for one in found if one.name == "dkim"]


def with_one_byte_changed(text: bytes, at: int) -> bytes:
    """The first letter or digit from this place on, or else before it, is another one. Raises LookupError."""
    word = WORD.search(text, at) or WORD.search(text)
    if word is None:
        raise LookupError("nothing to change")
    other = b"x" if word[0] != b"x" else b"y"
    return text[: word.start()] + other + text[word.end() :]


def with_one_signed_field_changed(message: Message, signature: bytes, random: Random) -> Message:
    """The lowest field of a name that h= lists, which is the first one that it signs."""
    names = field_tags(signature)[b"h"].lower().split(b":")
    stripped = {name.strip() for name in names} - {b"dkim-signature"}
    signed = [message.fields_by_name[name][-1] for name in sorted(stripped) if name in message.fields_by_name]
    name, value = random.choice([field for field in signed if WORD.search(field[1])])
    start = (b"\r\n" + message.header_block).rindex(b"\r\n%b:%b\r\n" % (name, value)) + len(name) + 1
    changed = with_one_byte_changed(value, random.randrange(len(value)))
    block = message.header_block[:start] + changed + message.header_block[start + len(value) :]
    return Message(message.envelope, block, message.body)


def _share(count: int, wrong: Sequence[object]) -> str:
    return f"{100 * (count - len(wrong)) / count:.2f}%_of_{count}"


def rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


async def test_every_dkim_signature_is_judged_as_at_signing_time(
    actor: DkimActor, data: Path, record_property: Callable[[str, object], None]
) -> None:
    compared: Counter[tuple[str, str]] = Counter()
    different = []
    for row in rows(data / "dkim.tsv"):
        found = [one for one in await examine(actor, data / "mail" / row["file"]) if one.name == "dkim"]
        judged = found[int(row["signature_index"])]
        verdict = row["verdict_at_signing_time"].strip()
        compared[verdict, judged.outcome.value] += 1
        if judged.outcome is not EXPECTED[verdict]:
            different.append((row["file"], row["signature_index"], verdict, judged.outcome.value, judged.detail))

    record_property("figure", _share(compared.total(), different))
    assert compared.total() == DKIM_SIGNATURES
    assert different == []


async def test_every_arc_chain_is_judged_as_recorded(
    actor: DkimActor, data: Path, record_property: Callable[[str, object], None]
) -> None:
    compared: Counter[tuple[str, str]] = Counter()
    different = []
    for row in rows(data / "arc.tsv"):
        (judged,) = [one for one in await examine(actor, data / "mail" / row["file"]) if one.name == "arc"]
        verdict = row["chain_verdict"].partition(":")[0]
        compared[verdict, judged.outcome.value] += 1
        if judged.outcome is not EXPECTED[verdict]:
            different.append((row["file"], verdict, judged.outcome.value, judged.detail))

    record_property("figure", _share(compared.total(), different))
    assert compared.total() == ARC_CHAINS
    assert different == []


async def test_every_passing_signature_fails_with_one_body_byte_or_one_signed_field_changed(
    actor: DkimActor, data: Path, record_property: Callable[[str, object], None]
) -> None:
    random, changed = Random(5), Counter[str]()
    still_passing = []
    for row in rows(data / "dkim.tsv"):
        if row["verdict_at_signing_time"].strip() != "pass":
            continue
        message, index = message_of(data / "mail" / row["file"]), int(row["signature_index"])
        signature = message.fields_by_name[b"dkim-signature"][index][1]
        mutants = {"field": with_one_signed_field_changed(message, signature, random)}
        if WORD.search(message.body):
            body = with_one_byte_changed(message.body, random.randrange(len(message.body)))
            mutants["body"] = Message(message.envelope, message.header_block, body)
        for kind, mutant in mutants.items():
            changed[kind] += 1
            if (await outcomes(actor, mutant))[index] is not Outcome.FAIL:
                still_passing.append((row["file"], index, kind))

    record_property("figure", _share(changed.total(), still_passing))
    assert changed["field"] == PASSING_SIGNATURES
    assert changed["body"] > PASSING_SIGNATURES - 10
    assert still_passing == []
