"""From OpenDMARC's settings (opendmarc.conf(5), 1.4.2) to ours: what is carried, and what is not and why. Pure."""

from collections.abc import Callable, Mapping, Sequence

from actors.dkim.signing.tables import TableError
from cli.imported import Imported, carry, last_settings, number, switch
from cli.opendkim_conf import Setting


def _authserv_id(setting: Setting) -> str:
    if setting.value == "HOSTNAME":
        raise TableError("write the name of this host in `[headers] authserv_id`; else the MTA's name is taken")
    return setting.value


def _names(setting: Setting) -> list[str]:
    return [name.strip().lower() for name in setting.value.split(",") if name.strip()]


def _form(setting: Setting) -> str:
    return "reject" if switch(setting) else "accept"


def _list_of_ours(_setting: Setting) -> bool:
    """A public suffix list comes with us, and is renewed with us."""
    return True


_CARRIED: Mapping[str, tuple[str, str, Callable[[Setting], object]]] = {
    # keyword: our table and key, and how the value is read
    "AuthservID": ("headers", "authserv_id", _authserv_id),
    "AuthservIDWithJobID": ("headers", "authserv_id_with_queue_id", switch),
    "DNSTimeout": ("dns", "timeout_s", number),
    "DomainWhitelist": ("dkim", "trusted_sealers", _names),
    "PublicSuffixList": ("policy", "dmarc_public_suffixes", _list_of_ours),
    "RejectFailures": ("policy", "dmarc_reject", switch),
    "RejectMultiValueFrom": ("policy.on_form", "from_multiple", _form),
    "RequiredHeaders": ("policy.on_form", "fields", _form),
}
_WITHOUT_OBJECT = (
    *("AutoRestart", "AutoRestartCount", "AutoRestartRate", "Background", "BaseDirectory", "DomainWhitelistSize"),
    *("EnableCoredumps", "FailureReportsBcc", "FailureReportsOnNone", "FailureReportsSentBy"),
    *("IgnoreAuthenticatedClients", "MilterDebug", "PidFile", "ReportCommand", "Socket", "SPFIgnoreResults"),
    *("SPFSelfValidate", "Syslog", "SyslogFacility", "UMask", "UserID"),
)
"""Of OpenDMARC's process, or so here in any case: SPF is evaluated, mail of authenticated clients is not judged."""

_NOT_CARRIED: Mapping[str, str] = {
    "ChangeRootDirectory": "the system confines a service",
    "CopyFailuresTo": "mail gets no further recipients; give `policy.dmarc.fail` points in `[policy] symbol_points`",
    "DomainWhitelistFile": "write the domains into `[dkim] trusted_sealers`",
    "FailureReports": "failure reports are not sent (they show mail to strangers); aggregate ones: `[dmarc_report]`",
    "HistoryFile": "`[dmarc_report] domain` counts what reports need in Redis, `tamis dmarc report` sends them",
    "HoldQuarantinedMessages": "`[policy] dmarc_points` and `quarantine_score` say what becomes of a failure",
    "IgnoreHosts": "`[policy.lists] allow_clients` accepts mail of hosts without scoring; it takes networks, not names",
    "IgnoreMailFrom": "`[policy.lists] allow_senders` accepts senders that SPF or DKIM prove",
    "IgnoreMailTo": "`[dmarc_report] exclude_domains` names domains that get no report",
    "RecordAllMessages": "what is counted is mail whose author's domain has a record: reports are for their owners",
    "RejectString": "the reply is fixed and names no domain: 550 5.7.1 Message refused by the DMARC policy",
    "SoftwareHeader": "no field says that we were there; the trace does",
    "TrustedAuthservIDs": "results of others are not believed: SPF and DKIM are evaluated here",
}
_SWITCHES = frozenset(
    {
        *("AuthservIDWithJobID", "FailureReports", "HoldQuarantinedMessages", "RecordAllMessages", "RejectFailures"),
        *("RejectMultiValueFrom", "RequiredHeaders", "SoftwareHeader"),
    }
)
_SILENT_DNS = "RejectFailures: OpenDMARC delays mail when DNS is silent, too; we judge it by the rest"
_DIFFERENT: Mapping[str, str] = {
    "IgnoreHosts": "OpenDMARC leaves mail of 127.0.0.1 alone, we judge all inbound mail",
    "PublicSuffixList": "without a list OpenDMARC knows no organizational domains, we find them in DNS (RFC 9989)",
}
"""What is otherwise here when the file does not say it."""

KNOWN: Mapping[str, str] = {keyword.lower(): keyword for keyword in (*_CARRIED, *_WITHOUT_OBJECT, *_NOT_CARRIED)}
"""By lower case."""


def import_opendmarc(settings: Sequence[Setting]) -> Imported:
    """Ours."""
    imported = Imported()
    last = last_settings(settings, KNOWN, "OpenDMARC 1.4", imported)
    for setting in list(last.values()):
        carry(setting, last, imported, lambda one: _import_one(one, imported))
    imported.different += [f"{keyword}: {text}" for keyword, text in _DIFFERENT.items() if keyword not in last]
    return imported


def _import_one(setting: Setting, imported: Imported) -> None:
    """Raises TableError for what cannot be carried, ValueError for what OpenDMARC would not take."""
    on = switch(setting) if setting.keyword in _SWITCHES else True
    if setting.keyword in _CARRIED:
        table, key, read = _CARRIED[setting.keyword]
        imported.put(table, {key: (read(setting), setting)})
    elif setting.keyword in _NOT_CARRIED and on:
        imported.lose(setting, _NOT_CARRIED[setting.keyword])
    else:
        imported.without_object.append(setting.keyword)
    if setting.keyword == "RejectFailures" and on:
        imported.different.append(_SILENT_DNS)
