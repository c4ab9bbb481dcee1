"""3,227 real signed mails: every DKIM signature and ARC chain is judged as it was when it came.

The clock is the time of the topmost Received field, as in `tamis scan --now message`, since most x= are long over.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from actors.config import DkimConfig
from actors.dkim.actor import DkimActor
from actors.model import Envelope, Finding, Message, Outcome, Stage
from cli.mail_file import dates, read_mail_file
from tests.fakes import FakeClock, FakeResolver, budget

pytestmark = [pytest.mark.data, pytest.mark.timeout(300)]

EXPECTED = {"pass": Outcome.PASS, "fail": Outcome.FAIL, "err:body hash mismatch": Outcome.FAIL}
DKIM_SIGNATURES, ARC_CHAINS = 2656, 2362


@pytest.fixture(scope="module")
def data(corpora: Path) -> Path:
    return corpora / "signed_mail"


@pytest.fixture(scope="module")
def actor(data: Path) -> DkimActor:
    lines = (data / "keys.tsv").read_text(encoding="utf-8").splitlines()
    keys = FakeResolver("\n".join("\tTXT\t".join(line.split("\t", 1)) for line in lines))
    return DkimActor(DkimConfig(), keys, FakeClock())


async def examine(actor: DkimActor, path: Path) -> list[Finding]:
    mail = read_mail_file(path)
    received = parsedate_to_datetime(next(dates(mail.header_block)).decode("latin-1")).timestamp()
    message = Message(Envelope(received_at_s=received), mail.header_block, mail.body)
    return list(await actor.examine(Stage.MESSAGE, message, budget()))


def rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


async def test_every_dkim_signature_is_judged_as_at_signing_time(actor: DkimActor, data: Path) -> None:
    compared: Counter[tuple[str, str]] = Counter()
    different = []
    for row in rows(data / "dkim.tsv"):
        found = [one for one in await examine(actor, data / "mail" / row["file"]) if one.name == "dkim"]
        judged = found[int(row["signature_index"])]
        verdict = row["verdict_at_signing_time"].strip()
        compared[verdict, judged.outcome.value] += 1
        if judged.outcome is not EXPECTED[verdict]:
            different.append((row["file"], row["signature_index"], verdict, judged.outcome.value, judged.detail))

    print(f"DKIM: {compared.total() - len(different)} of {compared.total()} agree", dict(compared))  # noqa: T201
    assert compared.total() == DKIM_SIGNATURES
    assert different == []


async def test_every_arc_chain_is_judged_as_recorded(actor: DkimActor, data: Path) -> None:
    compared: Counter[tuple[str, str]] = Counter()
    different = []
    for row in rows(data / "arc.tsv"):
        (judged,) = [one for one in await examine(actor, data / "mail" / row["file"]) if one.name == "arc"]
        verdict = row["chain_verdict"].partition(":")[0]
        compared[verdict, judged.outcome.value] += 1
        if judged.outcome is not EXPECTED[verdict]:
            different.append((row["file"], verdict, judged.outcome.value, judged.detail))

    print(f"ARC: {compared.total() - len(different)} of {compared.total()} agree", dict(compared))  # noqa: T201
    assert compared.total() == ARC_CHAINS
    assert different == []
