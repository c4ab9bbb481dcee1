"""Two whole cells: the live one mirrors to one whose policy is another."""

import asyncio
import json
from pathlib import Path

import pytest

from bench.samples import CLIENT_IP, SampleMaker
from bench.stack import Stack, StackOptions, wait_for
from cli.__main__ import main
from cli.mta import play_message

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
ROUNDS = 4
STRICT = '[policy.lists]\ndeny_senders = ["ben@friends.example"]\n'


def test_a_candidate_cell_with_another_policy_is_compared_and_live_mail_does_not_notice(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = SampleMaker()
    report = run_dir / "report"
    report.mkdir()

    async def send(milter: str) -> list[str]:
        said = []
        for _ in range(ROUNDS):
            for sample in maker.samples()[:2]:
                outcome = await play_message(milter, sample.raw, sender=sample.sender, client_ip=CLIENT_IP)
                said.append(outcome.action)
        return said

    def figures() -> dict[str, object]:
        with pytest.raises(SystemExit):
            main(["mirror", "report", "--json", str(report)])
        told: dict[str, object] = json.loads(capsys.readouterr().out)
        return told

    with Stack(maker.zone(), StackOptions(trace=False, extra=STRICT)) as candidate:
        mirror = f'[cluster.mirror]\nto = "{candidate.ready["grpc"]}"\nshare = 1.0\nreport_dir = "{report}"\n'
        with Stack(maker.zone(), StackOptions(trace=False, extra=mirror)) as live:
            said = asyncio.run(send(live.milter))
            assert said == ["accept"] * 2 * ROUNDS, "the candidate would have refused half of it"
            wait_for(lambda: figures()["compared"] == 2 * ROUNDS, 20.0)
            told = figures()
            assert told["same_action"] == ROUNDS
            actions = {(one["live"], one["mirrored"]): one["messages"] for one in told["actions"]}  # type: ignore[attr-defined]
            assert actions == {("accept", "accept"): ROUNDS, ("accept", "reject"): ROUNDS}
            names = {str(finding["name"]) for finding in told["findings"]}  # type: ignore[attr-defined]
            assert "policy/deny_sender" in names
            candidate.stop_up()
            assert set(asyncio.run(send(live.milter))) == {"accept"}, "without the candidate mail goes on"
            wait_for(lambda: figures()["failed"] or figures()["dropped"], 30.0)
    assert not live.ending
