import pytest

from cli.config import TamisConfig
from cli.import_opendmarc import _KNOWN, import_opendmarc
from wire.config import parse

DEBIAN = """\
# This is a basic configuration
PidFile /run/opendmarc/opendmarc.pid
PublicSuffixList /usr/share/publicsuffix
Socket local:/run/opendmarc/opendmarc.sock
Syslog true
UMask 0002
UserID opendmarc
"""
LARGE = """\
AuthservID mx.example.org
TrustedAuthservIDs mx.example.org,mail.example.org
RejectFailures true
HistoryFile /var/run/opendmarc/opendmarc.dat
IgnoreMailFrom Example.org, example.net
IgnoreAuthenticatedClients true
SPFSelfValidate Yes
SPFIgnoreResults 1
FailureReports false
HoldQuarantinedMessages true
RequiredHeaders t\t# strict
DNSTimeout 7
Socket inet:8893@localhost
"""


def settings(text: str) -> TamisConfig:
    return parse(import_opendmarc(text).toml(), TamisConfig)


def test_debians_file_says_little_that_matters_here() -> None:
    imported = import_opendmarc(DEBIAN)
    assert imported.values == {
        "gateway": {"listen": ["local:/run/opendmarc/opendmarc.sock"]},
        "policy": {"dmarc_public_suffixes": True},
    }
    assert imported.without_object == ["PidFile", "Syslog", "UMask", "UserID"]
    assert [remark.partition(": the")[0] for remark in imported.lost] == ["opendmarc.conf:3: PublicSuffixList"]
    assert [remark.partition(":")[0] for remark in imported.different] == ["IgnoreAuthenticatedClients"]
    assert not imported.mistakes


def test_what_is_carried_is_a_configuration_of_ours() -> None:
    config = settings(LARGE)
    assert config.headers.authserv_id == "mx.example.org"
    assert config.policy.dmarc_reject
    assert not config.policy.dmarc_public_suffixes
    assert config.dns.timeout_s == 7.0
    assert config.gateway.listen == ("inet:8893@localhost",)
    assert config.dmarc_report.exclude_domains == ("example.org", "example.net")


def test_what_is_not_carried_is_told_where_it_stands() -> None:
    told = [remark.split(": ")[:2] for remark in import_opendmarc(LARGE, "x.conf").lost]
    assert told == [
        ["x.conf:2", "TrustedAuthservIDs"],
        ["x.conf:3", "RejectFailures"],
        ["x.conf:4", "HistoryFile"],
        ["x.conf:5", "IgnoreMailFrom"],
        ["x.conf:10", "HoldQuarantinedMessages"],
        ["x.conf:11", "RequiredHeaders"],
    ]


@pytest.mark.parametrize("line", ["FailureReports no", "RejectMultiValueFrom 0", "AuthservIDWithJobID false"])
def test_what_asks_for_nothing_is_not_missed(line: str) -> None:
    imported = import_opendmarc(line)
    assert (imported.lost, imported.mistakes, imported.values) == ([], [], {})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("RejectFailure yes", "OpenDMARC has no such keyword; RejectFailures?"),
        ("RejectFailures perhaps", "neither yes nor no"),
        ("RejectFailures", "has no value"),
        ("DNSTimeout soon", "is no number"),
    ],
)
def test_what_opendmarc_would_not_take_is_a_mistake(line: str, told: str) -> None:
    imported = import_opendmarc(line)
    (mistake,) = imported.mistakes
    assert mistake.startswith("opendmarc.conf:1: ")
    assert told in mistake
    assert not imported.values


@pytest.mark.parametrize("line", ["AuthservID HOSTNAME", "Socket inet:8893", "DNSTimeout 0", "IgnoreMailFrom a b"])
def test_what_cannot_be_ours_is_told_with_the_reason(line: str) -> None:
    imported = import_opendmarc(line)
    assert not imported.values
    (lost,) = imported.lost
    assert lost.startswith("opendmarc.conf:1: ")
    assert not lost.endswith(": ")


def test_the_last_of_two_settings_counts_and_case_does_not() -> None:
    assert not settings("RejectFailures yes\nrejectfailures no\n").policy.dmarc_reject
    assert import_opendmarc("forensicreports yes").lost == [
        "opendmarc.conf:1: forensicreports: failure reports (RFC 9991) are not sent"
    ]


@pytest.mark.parametrize("word", sorted(set(_KNOWN.values())))
@pytest.mark.parametrize("value", ["1", "x", '"\\', "\x00", "é" * 500])
def test_no_value_breaks_the_configuration(word: str, value: str) -> None:
    settings(f"{word} {value}")
