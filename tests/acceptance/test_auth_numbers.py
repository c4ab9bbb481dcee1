"""What makes a number of `make accept-auth` ok or short."""

import pytest

from tests.acceptance import auth, auth_numbers, commands
from tests.acceptance.auth import GROUPS
from tests.acceptance.pytests import PROJECT
from tests.acceptance.report import Report, listed_names
from tests.hostile_mail import all_cases


def lines(
    figures: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    monkeypatch.setattr(commands, "figures", lambda *_words, **_options: figures)
    auth_numbers.cpu(Report("auth"))
    return {line.split()[1]: line.split()[0] for line in capsys.readouterr().out.splitlines()}


def measured(hostile_ms: float = 50.0) -> dict[str, float]:
    good = {"dkim_verify_ms.4_kb": 0.35, "dkim_verify_ms.2_mb": 10.0}
    return good | {f"hostile_ms.{name}": hostile_ms for name in all_cases()}


def test_what_keeps_its_bound_is_ok(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(lines(measured(), monkeypatch, capsys).values()) == {"ok"}


def test_one_slow_case_makes_its_line_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = measured() | {"hostile_ms.key_cut": 50.1, "dkim_verify_ms.2_mb": 10.1}
    found = lines(figures, monkeypatch, capsys)
    assert {name for name, verdict in found.items() if verdict == "short"} == {"bad_keys_cpu_ms", "dkim_verify_2_mb_ms"}


def test_every_case_of_hostile_mail_is_in_one_line() -> None:
    for name in all_cases():
        assert sum(name.startswith(beginnings) for beginnings in auth_numbers.HOSTILE.values()) == 1, name


def test_every_line_that_is_measured_is_listed() -> None:
    measured_lines = {row.name for group in GROUPS for row in group.rows}
    measured_lines |= {*auth_numbers.VERIFY_MS, *auth_numbers.HOSTILE, "sign_rsa_2048_ms"}
    assert measured_lines == set(listed_names("auth"))
    assert len(listed_names("auth")) == len(measured_lines)


@pytest.mark.parametrize(("ms", "verdict"), [(0.9, "ok"), (0.91, "short")])
def test_signing_is_told_beside_openssl_and_opendkim(
    ms: float, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"sign_ms.rsa_2048": ms, "openssl_ms.rsa_2048": 0.6, "opendkim_milter_ms": 3.2}
    monkeypatch.setattr(commands, "figures", lambda *_words, **_options: figures)
    auth_numbers.sign_cpu(Report("auth"))
    line = capsys.readouterr().out
    assert line.startswith(f"{verdict} sign_rsa_2048_ms {ms}")
    assert "openssl_alone_0.60_opendkim_milter_3.2 <=0.9 " in line


def test_all_checks_run() -> None:
    assert [*auth.checks()] == ["cpu", "sign_cpu", *(group.name for group in GROUPS)]


def test_every_test_that_a_row_names_is_there() -> None:
    for row in (row for group in GROUPS for row in group.rows):
        for test in row.tests:
            file, _, function = test.partition("::")
            source = (PROJECT / file).read_text()
            assert not function or f"def {function.partition('[')[0]}(" in source, test
