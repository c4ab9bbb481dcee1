"""From OpenDMARC's settings to ours: what is carried, and what is not and why. Pure.

OpenDMARC concludes from what filters before it wrote into Authentication-Results; Tamis checks SPF and DKIM itself and
scores what it finds, so much of such a file has nothing to say here, and some of it no counterpart.
"""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from cli.config import TamisConfig
from wire.config import ConfigError, parse

_CARRIED = {
    "AuthservID": "headers.authserv_id",
    "DNSTimeout": "dns.timeout_s",
    "IgnoreMailFrom": "dmarc_report.exclude_domains",
    "PublicSuffixList": "policy.dmarc_public_suffixes",
    "RejectFailures": "policy.dmarc_reject",
    "Socket": "gateway.listen",
}
_PARTLY = {
    "IgnoreMailFrom": "those domains get no reports; their mail is judged as all mail",
    "PublicSuffixList": "the list is the one that comes with Tamis, not this file",
    "RejectFailures": "p=reject is rejected; what DNS gives no answer about is not tempfailed but marked as temperror",
}
"""Where it has that effect; said of a value that asks for it."""
_NOT_CARRIED = {
    "AuthservIDWithJobID": "the authserv-id is written without the queue id",
    "CopyFailuresTo": "no recipients are added; let the MTA copy by the header X-Spam-Status",
    "DomainWhitelist": "no ARC chain overrides DMARC",
    "DomainWhitelistFile": "no ARC chain overrides DMARC",
    "FailureReports": "failure reports (RFC 9991) are not sent",
    "FailureReportsBcc": "failure reports (RFC 9991) are not sent",
    "FailureReportsOnNone": "failure reports (RFC 9991) are not sent",
    "FailureReportsSentBy": "failure reports (RFC 9991) are not sent",
    "HistoryFile": "reports are counted in Redis: set `[redis] url`, `[dmarc_report] domain`; see `tamis dmarc report`",
    "HoldQuarantinedMessages": "p=quarantine adds points: see `[policy] dmarc_points` and `quarantine_score`",
    "IgnoreHosts": "outbound and internal mail is not judged by DMARC; there is no further list of hosts",
    "IgnoreMailTo": "there is no such list",
    "RecordAllMessages": "only mail of domains that ask for reports is counted",
    "RejectMultiValueFrom": "it gets points: raise `policy.from_multiple` in `[policy] symbol_points`",
    "ReportCommand": "failure reports (RFC 9991) are not sent",
    "RequiredHeaders": "it gets points: raise `policy.from_missing` and give `policy.fields_repeated` some in "
    "`[policy] symbol_points`",
    "TrustedAuthservIDs": "nobody's Authentication-Results are believed: SPF and DKIM are checked here",
}
_WITHOUT_OBJECT = (
    *("AutoRestart", "AutoRestartCount", "AutoRestartRate", "Background", "BaseDirectory", "ChangeRootDirectory"),
    *("DomainWhitelistSize", "EnableCoredumps", "IgnoreAuthenticatedClients", "MilterDebug", "PidFile"),
    *("SoftwareHeader", "SPFIgnoreResults", "SPFSelfValidate", "Syslog", "SyslogFacility", "TemporaryDirectory"),
    *("TestDNSData", "UMask", "UserID"),
)
_SWITCHES = frozenset(
    {
        *("AuthservIDWithJobID", "FailureReports", "FailureReportsOnNone", "HoldQuarantinedMessages"),
        *("RecordAllMessages", "RejectFailures", "RejectMultiValueFrom", "RequiredHeaders"),
    }
)
_DIFFERENT = {
    "IgnoreAuthenticatedClients": "mail of authenticated clients leaves, and is not judged by DMARC",
    "PublicSuffixList": "organizations are found by the DNS tree walk of RFC 9989",
}
"""What holds here where the file does not say it."""
_FORMER = {"ForensicReports": "FailureReports", "ForensicReportsOnNone": "FailureReportsOnNone"}
_KNOWN = {word.lower(): word for word in (*_CARRIED, *_NOT_CARRIED, *_WITHOUT_OBJECT)}
_KNOWN |= {former.lower(): word for former, word in _FORMER.items()}
_DIGITS_MAX = 10


@dataclass(slots=True)
class ImportedDmarc:
    """What was made of the settings; each remark begins with FILE:LINE and the keyword."""

    values: dict[str, dict[str, object]] = field(default_factory=dict)
    """By table and key."""
    mistakes: list[str] = field(default_factory=list)
    """What OpenDMARC does not know or take, either."""
    lost: list[str] = field(default_factory=list)
    """Not carried, or not all of it, and what to do instead."""
    different: list[str] = field(default_factory=list)
    without_object: list[str] = field(default_factory=list)

    def toml(self) -> str:
        """The lines of a configuration; JSON's strings, numbers, booleans and lists of strings are TOML's."""
        lines: list[str] = []
        for table, values in sorted(self.values.items()):
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
        return "\n".join(lines)


def import_opendmarc(text: str, name: str = "opendmarc.conf") -> ImportedDmarc:
    """Ours, of the text of an opendmarc.conf(5); the last of two settings counts."""
    imported = ImportedDmarc()
    last: dict[str, tuple[str, str]] = {}
    for place, word, value in _settings(text, name):
        keyword = _KNOWN.get(word.lower())
        if keyword is None:
            near = difflib.get_close_matches(word.lower(), _KNOWN, 1)
            hint = f"; {_KNOWN[near[0]]}?" if near else ""
            imported.mistakes.append(f"{place}: OpenDMARC has no such keyword{hint}")
        elif not value:
            imported.mistakes.append(f"{place}: has no value")
        else:
            last[keyword] = place, value
    for keyword, (place, value) in last.items():
        try:
            _one(imported, keyword, place, value)
        except ValueError as error:
            imported.mistakes.append(f"{place}: {error}")
    imported.different += [f"{keyword}: {holds}" for keyword, holds in _DIFFERENT.items() if keyword not in last]
    return imported


def _settings(text: str, name: str) -> Iterator[tuple[str, str, str]]:
    """(FILE:LINE: KEYWORD, keyword, value)."""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split(None, 1)
        if words:
            yield f"{name}:{number}: {words[0]}", words[0], words[1].strip() if len(words) > 1 else ""


def _one(imported: ImportedDmarc, keyword: str, place: str, value: str) -> None:
    """Raises ValueError for what OpenDMARC would not take."""
    wanted = _switch(value) if keyword in _SWITCHES else True
    if keyword in _WITHOUT_OBJECT:
        imported.without_object.append(keyword)
    elif keyword in _NOT_CARRIED:
        if wanted:
            imported.lost.append(f"{place}: {_NOT_CARRIED[keyword]}")
    elif keyword == "AuthservID" and value.upper() == "HOSTNAME":
        imported.lost.append(f"{place}: write the name of this host; without it the MTA's name is taken")
    else:
        table, _, key = _CARRIED[keyword].rpartition(".")
        ours = {key: _value(keyword, value)}
        try:
            parse(ImportedDmarc({table: ours}).toml(), TamisConfig)
        except ConfigError as error:
            imported.lost.append(f"{place}: {str(error).partition(': ')[2]}")
            return
        imported.values.setdefault(table, {}).update(ours)
        if wanted and keyword in _PARTLY:
            imported.lost.append(f"{place}: {_PARTLY[keyword]}")


def _value(keyword: str, value: str) -> object:
    """As our setting has it. Raises ValueError."""
    match keyword:
        case "RejectFailures":
            return _switch(value)
        case "PublicSuffixList":
            return True
        case "DNSTimeout":
            return _seconds(value)
        case "IgnoreMailFrom":
            return [name.strip().lower() for name in value.split(",") if name.strip()]
        case "Socket":
            return [value]
    return value


def _seconds(value: str) -> float:
    """Raises ValueError."""
    if not (value.isascii() and value.isdecimal() and len(value) < _DIGITS_MAX):
        raise ValueError("is no number of seconds")
    return float(value)


def _switch(value: str) -> bool:
    """The first letter counts. Raises ValueError."""
    if value[:1].lower() not in "tyfn10":
        raise ValueError("is neither yes nor no")
    return value[:1].lower() in "ty1"
