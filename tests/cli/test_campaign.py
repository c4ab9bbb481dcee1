import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from tests.actors.classifier.campaigns.mutations import MUTATIONS, mail, template
from tests.live.redis_servers import RedisProcess

SPAM = mail(template(1)).raw
COPY = mail(MUTATIONS["3 % of words replaced"](template(1), random.Random(1))).raw


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    server = RedisProcess()
    path = tmp_path / "tamis.toml"
    try:
        server.start()
        path.write_text(
            f'[redis]\nurl = "redis://{server.address}"\ntimeout_s = 10.0\n[classifier.campaigns]\nredis_prefix = "t"\n'
        )
        yield path
    finally:
        server.remove()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mail" / "cur").mkdir(parents=True)
    for name, raw in (("spam", SPAM), ("cur/copy", COPY), ("short", mail(["thanks"], subject="").raw)):
        (tmp_path / "mail" / name).write_bytes(raw)
    return tmp_path / "mail"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict[str, object]], str]:
    """(exit code, the JSON lines, the complaints)."""
    code = 0
    try:
        main(["campaign", *map(str, words), "--json"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


@pytest.mark.live
def test_files_are_reported_shown_and_forgotten(capsys, config, folder):
    code, reported, _ = run(capsys, "report", folder, "--config", config)
    assert code == 1, "one has too little text"
    by_name = {Path(str(line["file"])).name: line for line in reported}
    assert "too little text" in str(by_name["short"]["problem"])
    assert by_name["copy"]["campaign"] == by_name["spam"]["campaign"]
    assert {by_name["copy"]["reports"], by_name["spam"]["reports"]} == {1, 2}

    code, (shown,), _ = run(capsys, "show", "--config", config)
    assert (code, shown["campaign"], shown["reports"]) == (0, by_name["spam"]["campaign"], 2)
    _, (like,), _ = run(capsys, "show", folder / "spam", "--config", config)
    assert str(like["campaigns"]).startswith(f"['{shown['campaign']} ")

    code, (forgotten,), _ = run(capsys, "forget", folder / "cur", "--config", config)
    assert (code, forgotten["campaigns"]) == (0, [shown["campaign"]])
    assert run(capsys, "show", "--config", config) == (0, [], "")


@pytest.mark.live
def test_a_campaign_is_ended_by_its_id(capsys, config, folder):
    _, (reported,), _ = run(capsys, "report", folder / "spam", "--config", config)
    assert run(capsys, "forget", "--id", reported["campaign"], "--config", config) == (0, [{"ended": 1}], "")
    code, _, complaint = run(capsys, "forget", "--id", reported["campaign"], "--config", config)
    assert (code, "1 of these ids" in complaint) == (1, True)


@pytest.mark.live
def test_tables_are_for_people(capsys, config, folder):
    for words in (["report", str(folder / "spam")], ["show"]):
        with pytest.raises(SystemExit) as ended:
            main(["campaign", *words, "--config", str(config)])
        assert not ended.value.code
    assert "words in common" in capsys.readouterr().out


@pytest.mark.live
def test_a_file_that_is_not_there_costs_its_own_line(capsys, config, folder):
    code, (missing, reported), _ = run(capsys, "report", folder / "none", folder / "spam", "--config", config)
    assert (code, missing["problem"], reported["reports"]) == (1, "No such file or directory", 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "[redis] url is empty"),
        ('[redis]\nurl = "redis://127.0.0.1:1"', "[classifier.campaigns] redis_prefix is empty"),
        ("[classifier.campaigns]\nsimilarity_min = 2.0", "`similarity_min` must be between"),
    ],
)
def test_settings_without_campaigns_are_a_usage_error(capsys, tmp_path, folder, text, complaint):
    path = tmp_path / "other.toml"
    path.write_text(text)
    code, _, err = run(capsys, "report", folder, "--config", path, "--run-dir", tmp_path)
    assert (code, complaint in err) == (2, True), err


def test_forget_takes_files_or_ids(capsys, folder):
    assert run(capsys, "forget")[0] == 2
    assert run(capsys, "forget", folder, "--id", "0" * 16)[0] == 2


@pytest.mark.live
def test_a_redis_that_is_away_is_one_line(capsys, config, folder):
    config.write_text('[redis]\nurl = "redis://127.0.0.1:1"\n[classifier.campaigns]\nredis_prefix = "t"\n')
    code, _, err = run(capsys, "report", folder / "spam", "--config", config)
    assert (code, err.startswith("tamis campaign: Redis does not answer")) == (1, True)
