import asyncio
import base64
import gzip
import io
import zipfile
from pathlib import Path

import pytest

from actors.actor import Budget
from actors.antivirus.actor import AntivirusActor
from actors.antivirus.yara import RuleError, YaraRules
from actors.config import AntivirusConfig
from actors.model import Finding, Message, Outcome, Stage
from actors.ports import MessageTooLong, ScanResult
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
        lambda eicar: attachment(zipped(eicar)),
        lambda eicar: attachment(zipped(zipped(eicar))),
        lambda eicar: attachment(b"junk in front " + zipped(eicar)),
        lambda eicar: attachment(gzip.compress(eicar)),
        lambda eicar: attachment(gzip.compress(eicar), b"binary"),
        lambda eicar: attachment(zipped(eicar), b"8bit"),
        lambda eicar: attachment(zipped(eicar.decode().encode("utf-16-le"))),
        lambda eicar: attachment(eicar.replace(b"$", b"=24"), b"quoted-printable"),
        lambda eicar: attachment(zipped(zipped(zipped(zipped(eicar))))),
        lambda eicar: attachment(attachment(zipped(eicar)).raw),
    ],
    ids=[
        "zip",
        "zip in zip",
        "zip behind junk",
        "gzip",
        "gzip as it is",
        "zip as it is",
        "utf-16",
        "quoted-printable",
        "zip four deep",
        "zip in eml",
    ],
)
async def test_eicar_is_found_decoded_and_unpacked(eicar, wrap):
    (finding,) = await examine(wrap(eicar))
    assert finding.outcome is Outcome.INFECTED


async def test_eicar_is_found_in_an_embedded_message_and_in_flawed_base64(eicar):
    inner = attachment(zipped(eicar)).raw
    outer = Message(header_block=b"Content-Type: message/rfc822\r\n", body=inner)
    assert (await examine(outer))[0].outcome is Outcome.INFECTED
    encoded = base64.b64encode(zipped(eicar))
    flawed = encoded[:70] + b"\r\n!!!!\r\n" + encoded[70:]
    message = Message(header_block=b"Content-Transfer-Encoding: base64\r\n", body=flawed)
    assert (await examine(message))[0].outcome is Outcome.INFECTED


async def test_the_mails_of_these_tests_are_clean_when_nothing_is_decoded(eicar, monkeypatch):
    monkeypatch.setattr("actors.antivirus.parts.decoded", lambda *_: ())
    assert (await examine(attachment(zipped(eicar))))[0].outcome is Outcome.CLEAN


async def test_a_fifth_archive_level_is_not_opened_and_that_is_reported(eicar):
    deep = eicar
    for _ in range(5):
        deep = zipped(deep)
    yara, uninspected = await examine(attachment(deep))
    assert yara.outcome is Outcome.CLEAN
    assert (uninspected.name, uninspected.outcome, uninspected.detail) == ("uninspected", Outcome.SKIPPED, "depth")


async def test_what_could_not_be_looked_into_is_one_finding_with_every_reason():
    archive = bytearray(zipped(b"secret"))
    archive[6] |= 1
    archive[14] ^= 1
    both = Message(body=attachment(bytes(archive)).raw + attachment(b"7z\xbc\xaf\x27\x1c....").raw)
    _, uninspected = await examine(both)
    assert uninspected.detail == "encrypted, unsupported"


async def test_a_flood_of_parts_is_cut_off_and_that_is_reported(eicar, monkeypatch):
    monkeypatch.setattr("actors.antivirus.parts.PARTS_MAX", 1)
    twice = Message(body=attachment(b"x").raw + attachment(zipped(eicar)).raw)
    assert (await examine(twice))[-1].detail == "entries"


async def test_thousands_of_levels_hide_nothing(eicar):
    levels = (b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(3000))
    body = b"".join(levels) + attachment(zipped(eicar)).raw
    (finding,) = await examine(Message(header_block=b"Content-Type: multipart/mixed; boundary=b0\r\n", body=body))
    assert finding.outcome is Outcome.INFECTED


class ScannerOfAtMost(FakeScanner):
    """An engine with a limit, as clamd has one."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(lambda raw: "Bad" if b"evil" in raw else "")
        self._bytes_max = bytes_max

    async def scan(self, message: bytes) -> ScanResult:
        if len(message) > self._bytes_max:
            raise MessageTooLong(f"{len(message)} bytes")
        return await super().scan(message)


async def test_a_message_too_long_for_clamd_is_scanned_in_pieces():
    scanner = ScannerOfAtMost(1000)
    _, clamav = await examine(attachment(b"evil" + bytes(900)), scanner)
    assert (clamav.outcome, clamav.detail) == (Outcome.INFECTED, "Bad")
    _, clamav = await examine(attachment(bytes(900)), scanner)
    assert clamav.outcome is Outcome.CLEAN
    assert [piece for piece in scanner.scanned if b"see attachment" in piece]


async def test_a_piece_too_long_for_clamd_is_uninspected_and_no_error():
    _, clamav, uninspected = await examine(attachment(bytes(2000)), ScannerOfAtMost(1000))
    assert (clamav.name, clamav.outcome) == ("clamav", Outcome.SKIPPED)
    assert (uninspected.outcome, uninspected.detail) == (Outcome.SKIPPED, "too_large")


async def test_the_rules_start_when_clamd_has_its_message(monkeypatch):
    events = []

    class Connecting(FakeScanner):
        async def scan(self, message: bytes) -> ScanResult:
            for _ in range(5):
                await asyncio.sleep(0)
            events.append("connected")
            return await super().scan(message)

    monkeypatch.setattr(YaraRules, "matches", lambda *_: events.append("rules") or [])
    await examine(text_mail(b"x"), Connecting())
    assert events == ["connected", "rules"]


async def test_the_loop_turns_between_contents_and_only_so_many_messages_are_looked_at(monkeypatch):
    class SlowClock(FakeClock):
        def monotonic_s(self) -> float:
            self.advance(0.01)
            return super().monotonic_s()

    order = []
    monkeypatch.setattr(YaraRules, "matches", lambda _, content: order.append(content[:4]) or [])
    monkeypatch.setattr("actors.antivirus.actor.RULE_SCANS_MAX", 2)
    actor = AntivirusActor(AntivirusConfig(), [], SlowClock())
    mails = [Message(header_block=b"%d23\r\n" % n, body=attachment(b"part").raw) for n in (1, 2, 3)]
    budget = Budget.lasting(FakeClock(), 20)
    await asyncio.gather(*(actor.examine(Stage.MESSAGE, mail, budget) for mail in mails))
    assert order == [b"123\r", b"223\r", b"part", b"part", b"323\r", b"part"]


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


class RushingClock(FakeClock):
    def monotonic_s(self) -> float:
        self.advance(1.5)
        return super().monotonic_s()


async def test_rules_that_take_too_long_leave_the_rest_uninspected():
    actor = AntivirusActor(AntivirusConfig(yara_timeout_s=1.0), [], RushingClock())
    _, uninspected = await actor.examine(Stage.MESSAGE, attachment(b"x"), Budget.lasting(FakeClock(), 20))
    assert (uninspected.name, uninspected.detail) == ("uninspected", "timeout")


async def test_an_examination_without_time_left_is_an_error_not_clean():
    clock = RushingClock()
    actor = AntivirusActor(AntivirusConfig(), [], clock)
    findings = await actor.examine(Stage.MESSAGE, attachment(b"x"), Budget.lasting(clock, 2))
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
