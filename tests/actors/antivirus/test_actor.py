import asyncio
import base64
import gzip
import io
import zipfile
from pathlib import Path

import pytest

from actors.actor import Budget
from actors.antivirus.actor import AntivirusActor
from actors.antivirus.yara import RuleError
from actors.config import AntivirusConfig
from actors.model import Finding, Message, Outcome, Stage
from actors.ports import ScanResult
from tests.fakes import FakeClock, FakeScanner


class HangingScanner:
    async def scan(self, message: bytes) -> ScanResult:
        await asyncio.Event().wait()
        raise AssertionError(message)

    async def close(self) -> None: ...


async def examine(message: Message, *scanners, config: AntivirusConfig | None = None, budget_s=20.0) -> list[Finding]:
    actor = AntivirusActor(config or AntivirusConfig(), scanners, FakeClock())
    return list(await actor.examine(Stage.MESSAGE, message, Budget.lasting(FakeClock(), budget_s)))


def text_mail(body: bytes) -> Message:
    return Message(header_block=b"From: a@example.org\r\nSubject: hello\r\n", body=body)


def attachment(content: bytes, encoding: bytes = b"base64") -> Message:
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n") if encoding == b"base64" else content
    body = (
        b"--b\r\nContent-Type: text/plain\r\n\r\nsee attachment\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n"
    )
    return Message(
        header_block=b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n",
        body=body + encoded + b"\r\n--b--\r\n",
    )


def zipped(content: bytes, name: str = "a.com") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


async def test_an_ordinary_message_is_clean():
    (finding,) = await examine(text_mail(b"Lunch at noon?\r\n"))
    assert (finding.actor, finding.name, finding.outcome, finding.detail) == ("antivirus", "yara", Outcome.CLEAN, "")


async def test_eicar_in_the_body_is_infected_with_the_rule_named(eicar):
    (finding,) = await examine(text_mail(eicar + b"\r\n"))
    assert finding.outcome is Outcome.INFECTED
    assert "EICAR_Test_File" in finding.detail


@pytest.mark.parametrize(
    "wrap",
    [
        attachment,
        lambda eicar: attachment(zipped(eicar)),
        lambda eicar: attachment(zipped(zipped(eicar))),
        lambda eicar: attachment(b"junk in front " + zipped(eicar)),
        lambda eicar: attachment(gzip.compress(eicar)),
        lambda eicar: attachment(gzip.compress(eicar), b"binary"),
        lambda eicar: attachment(zipped(eicar), b"8bit"),
        lambda eicar: attachment(eicar.decode().encode("utf-16-le")),
        lambda eicar: attachment(eicar.replace(b"$", b"=24"), b"quoted-printable"),
    ],
    ids=[
        "base64",
        "zip",
        "zip in zip",
        "zip behind junk",
        "gzip",
        "gzip as it is",
        "zip as it is",
        "utf-16",
        "quoted-printable",
    ],
)
async def test_eicar_is_found_decoded_and_unpacked(eicar, wrap):
    (finding,) = await examine(wrap(eicar))
    assert finding.outcome is Outcome.INFECTED


async def test_eicar_is_found_in_an_embedded_message_and_in_flawed_base64(eicar):
    inner = attachment(eicar).raw
    outer = Message(header_block=b"Content-Type: message/rfc822\r\n", body=inner)
    assert (await examine(outer))[0].outcome is Outcome.INFECTED
    flawed = base64.b64encode(eicar * 2)[:70] + b"\r\n!!!!\r\n" + base64.b64encode(eicar * 2)[70:]
    message = Message(header_block=b"Content-Transfer-Encoding: base64\r\n", body=flawed)
    assert (await examine(message))[0].outcome is Outcome.INFECTED


async def test_a_third_archive_level_is_not_opened_and_that_is_reported(eicar):
    _, archive = await examine(attachment(zipped(zipped(zipped(b"x" * 100 + eicar)))))
    assert (archive.name, archive.outcome, archive.detail) == ("archive", Outcome.HIT, "depth")


async def test_a_flood_of_boundaries_is_not_taken_apart_and_that_is_reported(eicar, monkeypatch):
    monkeypatch.setattr("actors.antivirus.contents.PARTS_MAX", 1)
    _, archive = await examine(attachment(eicar))
    assert archive.detail == "entries"


async def test_structure_that_no_parser_can_read_is_reported():
    body = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(3000))
    message = Message(header_block=b"Content-Type: multipart/mixed; boundary=b0\r\n", body=body + b"base64")
    findings = await examine(message)
    assert [(finding.name, finding.detail) for finding in findings] == [("yara", ""), ("archive", "damaged")]


async def test_clamd_gives_its_own_finding_and_its_wait_is_recorded():
    clock = FakeClock()
    scanner = FakeScanner(lambda raw: "Win.Test.EICAR_HDB-1" if b"evil" in raw else "")
    actor = AntivirusActor(AntivirusConfig(), [scanner], clock)
    budget = Budget.lasting(clock, 20)
    findings = await actor.examine(Stage.MESSAGE, text_mail(b"evil"), budget)
    assert [(f.name, f.outcome, f.detail) for f in findings] == [
        ("yara", Outcome.CLEAN, ""),
        ("clamav", Outcome.INFECTED, "Win.Test.EICAR_HDB-1"),
    ]
    assert [lookup.name for lookup in budget.lookups] == ["clamd.scan"]
    assert (await actor.examine(Stage.MESSAGE, text_mail(b"good"), budget))[1].outcome is Outcome.CLEAN
    await actor.close()


async def test_clamd_that_is_away_is_an_error_that_says_so_and_yara_still_counts(eicar):
    yara, clamav = await examine(text_mail(eicar), FakeScanner(lambda _: None))
    assert yara.outcome is Outcome.INFECTED
    assert clamav.outcome is Outcome.ERROR
    assert clamav.detail.startswith("unreachable")


async def test_clamd_that_hangs_is_cut_off_as_a_timeout():
    _, clamav = await examine(text_mail(b"x"), HangingScanner(), config=AntivirusConfig(clamd_timeout_s=0.01))
    assert clamav.outcome is Outcome.ERROR
    assert clamav.detail.startswith("timeout")


async def test_cancellation_is_passed_on():
    actor = AntivirusActor(AntivirusConfig(), [HangingScanner()], FakeClock())
    task = asyncio.create_task(actor.examine(Stage.MESSAGE, text_mail(b"x"), Budget.lasting(FakeClock(), 20)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_rules_that_run_out_of_time_are_an_error_not_clean():
    class RushingClock(FakeClock):
        def monotonic_s(self) -> float:
            self.advance(1.5)
            return super().monotonic_s()

    actor = AntivirusActor(AntivirusConfig(), [], RushingClock())
    findings = await actor.examine(Stage.MESSAGE, attachment(b"x"), Budget.lasting(FakeClock(), 20))
    assert findings[0].outcome is Outcome.ERROR
    assert findings[0].detail.startswith("timeout")


async def test_other_stages_are_not_asked():
    actor = AntivirusActor(AntivirusConfig(), [], FakeClock())
    assert not await actor.examine(Stage.HEADERS, text_mail(b""), Budget.lasting(FakeClock(), 1))


async def test_rules_of_the_operator_are_added(tmp_path):
    rules = tmp_path / "own.yar"
    rules.write_text('rule Own_Rule { strings: $a = "wire the money" condition: $a }')
    config = AntivirusConfig(yara_rules=(str(rules),))
    (finding,) = await examine(text_mail(b"please wire the money"), config=config)
    assert (finding.outcome, finding.detail) == (Outcome.INFECTED, "Own_Rule")


@pytest.mark.parametrize(
    "source", ["rule broken {", 'include "/etc/passwd"', 'import "nosuch" rule a {condition: true}']
)
def test_a_bad_rule_file_is_refused_by_name(tmp_path, source):
    rules = tmp_path / "broken.yar"
    rules.write_text(source)
    with pytest.raises(RuleError, match=r"broken\.yar"):
        AntivirusActor(AntivirusConfig(yara_rules=(str(rules),)), [], FakeClock())


def test_a_missing_rule_file_is_refused_by_name():
    with pytest.raises(RuleError, match=r"/nosuch\.yar: cannot be read"):
        AntivirusActor(AntivirusConfig(yara_rules=("/nosuch.yar",)), [], FakeClock())


def test_the_eicar_text_stands_in_no_file_of_ours(eicar):
    project = Path(__file__).resolve().parents[3]
    files = [*project.joinpath("actors").rglob("*.*"), *project.joinpath("tests").rglob("*.py")]
    assert files
    assert not [path for path in files if path.is_file() and eicar in path.read_bytes()]
