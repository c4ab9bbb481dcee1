"""bench/demo.py: what counts as a failure."""

import pytest

from bench import demo
from bench.samples import Sample
from cli.mta import MtaOutcome
from wire.milter import events as ev

FLAGGED = MtaOutcome("accept", edits=(ev.InsertHeader(0, b"X-Spam-Flag", b" YES"),))


def sample(name: str, expected: str) -> Sample:
    return Sample(name, b"s@x.example", b"Subject: x\r\n\r\n", expected)


async def complaints(
    monkeypatch: pytest.MonkeyPatch, own: list[Sample], real: list[Sample], *outcomes: MtaOutcome
) -> list[str]:
    remaining = iter(outcomes)

    async def play_message(*_: object, **__: object) -> MtaOutcome:
        return next(remaining)

    monkeypatch.setattr(demo, "play_message", play_message)
    return await demo.send_all("inet:1@127.0.0.1", own, real)


async def test_own_mail_must_get_its_expected_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [sample("EICAR", "reject"), sample("forged", "add_header"), sample("note", "accept")]
    found = await complaints(monkeypatch, own, [], MtaOutcome("accept"), FLAGGED, MtaOutcome("accept"))
    assert found == ["EICAR: accept, expected reject"]


async def test_the_corpus_may_surprise_but_must_be_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    real = [sample("spam 1", "add_header"), sample("ham 1", "accept")]
    found = await complaints(monkeypatch, [], real, MtaOutcome("accept"), MtaOutcome(error="refused"))
    assert found == ["ham 1: refused"]
