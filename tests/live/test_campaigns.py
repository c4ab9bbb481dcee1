"""Campaigns in a running cell: what the command reports is found in mail by the gateway, until it is forgotten."""

import asyncio
import contextlib
import random
import time
from pathlib import Path

import pytest

from bench.samples import CLIENT_IP, SampleMaker
from bench.stack import Stack, StackOptions
from cli.__main__ import main
from cli.mail_file import prepare
from cli.mta import deliver_in_turn
from cli.mta_stages import Client
from tests.actors.classifier.campaigns.mutations import MUTATIONS, mail, template
from tests.live.redis_servers import RedisProcess

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
SETTINGS = '[redis]\nurl = "redis://{address}"\ntimeout_s = 2.0\n[classifier.campaigns]\nredis_prefix = "t"\n'
SECONDS_MAX = 5


def play(stack: Stack) -> list[tuple[float, bytes]]:
    """X-Spam-Score and X-Tamis-Degraded of a copy by each mutation; every one is delivered."""
    copies = [mail(mutate(template(1), random.Random(2))).raw for mutate in MUTATIONS.values()]
    mails = [prepare(raw, b"a@client.example", [b"reader@recipient.example"]).as_mail() for raw in copies]
    outcomes = asyncio.run(deliver_in_turn(stack.milter, mails, Client(ip=CLIENT_IP, helo=b"mail.client.example")))
    assert [outcome.error for outcome in outcomes] == [""] * len(mails)
    return [(float(one.added(b"X-Spam-Score") or b"nan"), one.added(b"X-Tamis-Degraded")) for one in outcomes]


def campaign(*words: str | Path) -> None:
    with contextlib.suppress(SystemExit):
        main(["campaign", *map(str, words)])


def test_copies_of_what_is_reported_score_within_seconds_until_it_is_forgotten(
    maker: SampleMaker, tmp_path: Path
) -> None:
    server = RedisProcess()
    try:
        server.start()
        settings = SETTINGS.format(address=server.address)
        config, spam = tmp_path / "tamis.toml", tmp_path / "spam"
        config.write_text(settings)
        spam.write_bytes(mail(template(1)).raw)
        with Stack(maker.zone(), StackOptions(extra=settings)) as stack:
            before = play(stack)
            assert {degraded for _, degraded in before} == {b""}
            began_s = time.monotonic()
            campaign("report", spam, "--config", config)
            assert play(stack) == [(pytest.approx(score + 8), b"") for score, _ in before]
            assert time.monotonic() - began_s < SECONDS_MAX
            campaign("forget", spam, "--config", config)
            assert play(stack) == before
            server.kill()
            assert play(stack) == [(score, b"classifier") for score, _ in before], "delivered, and marked"
    finally:
        server.remove()
