"""Every keyword of opendkim.conf(5), OpenDKIM 2.11: where it goes, that it has no object here, or why it is lost.

Four tables. `CARRIED` names our key. `WITHOUT_OBJECT` is about OpenDKIM's own process. `NOT_CARRIED` says why, and what
to do instead; a switch that is off loses nothing. `ON_ACTIONS` are the actions by kind of failure: what we do in any
case, so that saying the same loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SPECIAL = (
    "BaseDirectory",
    "Domain",
    "KeyFile",
    "KeyTable",
    "On-Default",
    "Selector",
    "SigningTable",
    "SubDomains",
    "UserID",
)
"""Several of these make one setting of ours, or one remark."""

CARRIED: Mapping[str, tuple[str, str]] = {
    # keyword: (how it is read, our key)
    "AuthservID": ("authserv_id", "headers.authserv_id"),
    "AuthservIDWithJobID": ("switch", "headers.authserv_id_with_queue_id"),
    "Canonicalization": ("word", "dkim.signing.canonicalization"),
    "ClockDrift": ("number", "dkim.clock_drift_s"),
    "DNSTimeout": ("number", "dns.timeout_s"),
    "DontSignMailTo": ("data_set", "dkim.signing.dont_sign_mail_to"),
    "ExemptDomains": ("data_set", "dkim.signing.exempt_domains"),
    "ExternalIgnoreList": ("data_set", "dkim.signing.external_ignore_list"),
    "InternalHosts": ("data_set", "dkim.signing.internal_hosts"),
    "LDAPTimeout": ("number", "dkim.signing.table_timeout_s"),
    "LDAPUseTLS": ("switch", "dkim.signing.ldap_use_tls"),
    "MacroList": ("macros", "dkim.signing.macro_list"),
    "MaximumSignaturesToVerify": ("number", "dkim.signatures_max"),
    "Minimum": ("minimum", "dkim.unsigned_tail"),
    "MinimumKeyBits": ("key_bits", "dkim.key_bits_min"),
    "Mode": ("word", "dkim.signing.mode"),
    "MTA": ("data_set", "dkim.signing.mta"),
    "MultipleSignatures": ("switch", "dkim.signing.multiple_signatures"),
    "MustBeSigned": ("list", "dkim.must_be_signed"),
    "Nameservers": ("names", "dns.nameservers"),
    "OmitHeaders": ("fields", "dkim.signing.omit_headers"),
    "OversignHeaders": ("fields", "dkim.signing.oversign_headers"),
    "PeerList": ("data_set", "dkim.signing.peer_list"),
    "RemoveARFrom": ("list", "headers.removed_authserv_ids"),
    "RequiredHeaders": ("form", "policy.on_form.fields"),
    "RequireSafeKeys": ("switch", "dkim.signing.require_safe_keys"),
    "ResignAll": ("switch", "dkim.signing.resign_all"),
    "ResignMailTo": ("data_set", "dkim.signing.resign_mail_to"),
    "SenderHeaders": ("fields", "dkim.signing.sender_headers"),
    "SignatureTTL": ("number", "dkim.signing.signature_ttl_s"),
    "SignHeaders": ("fields", "dkim.signing.sign_headers"),
    "TrustSignaturesFrom": ("list", "dkim.signers_first"),
}

WITHOUT_OBJECT = (
    *("AllowSHA1Only", "AlwaysAddARHeader", "AutoRestart", "AutoRestartCount", "AutoRestartRate", "Background"),
    *("DisableCryptoInit", "DNSConnect", "EnableCoredumps", "KeepTemporaryFiles", "LDAPAuthName", "LDAPAuthRealm"),
    *("LDAPAuthUser", "LDAPDisableCache", "LDAPKeepaliveIdle", "LDAPKeepaliveInterval", "LDAPKeepaliveProbes"),
    *("LogResults", "LogWhy", "MilterDebug", "MTACommand", "PidFile", "QueryCache", "RemoveARAll", "ReplaceHeaders"),
    *("ReportAddress",),
    *("ReportBccAddress", "ResolverTracing", "SMTPURI", "Socket", "SoftStart", "StatisticsName", "StatisticsPrefix"),
    *("StrictTestMode", "Syslog", "SyslogFacility", "SyslogName", "SyslogSuccess", "TemporaryDirectory", "UMask"),
    *("VBR-PurgeFields", "VBR-TrustedCertifiersOnly", "ATPSHashAlgorithm"),
)
"""Of OpenDKIM's process, or useless without another keyword that is told of."""

_NEVER_L = "signatures never have l=: what it leaves unsigned anybody can write; nothing to do"
_SCRIPT = "there are no Lua scripts; `[policy] symbol_points` decides about findings, child milters are not run yet"
_FORM = "`[policy.on_form]` says what becomes of mail whose fields or line ends are at fault"
_DNSSEC = "DNSSEC is the resolver's: name a validating one in `[dns] nameservers`; a forged answer is a temperror then"
_EXPERIMENT = "an experiment that hardly anybody checks; nothing to do"
_BIND = "put the password into a file; `[dkim.signing] ldap_bind_user` and `ldap_bind_password` name user and file"
_REPORTS = "failure reports are not sent (they show mail to strangers); aggregate ones are: `[dmarc_report]`"

NOT_CARRIED: Mapping[str, str] = {
    "ATPSDomains": _EXPERIMENT,
    "BodyLengthDB": _NEVER_L,
    "BogusKey": _DNSSEC,
    "CaptureUnknownErrors": '`[policy.on_error] dkim = "quarantine"` does so for all that the DKIM actor cannot do',
    "ChangeRootDirectory": "the system confines a service; paths in this file that are below it need it in front",
    "Diagnostics": "no z=, which doubles the header; `tamis dkim verify --original` compares mail with mail",
    "DiagnosticDirectory": "`tamis dkim verify` tells what broke a signature, by z= or `--original`, when it is asked",
    "DomainKeysCompat": "DomainKeys is historic (RFC 4870)",
    "FinalPolicyScript": _SCRIPT,
    "FixCRLF": "what is signed is what leaves; Postfix ends lines with CRLF, `policy.bare_line_ends` tells of others",
    "IdentityHeader": "i= comes from the SigningTable alone",
    "IdentityHeaderRemove": "i= comes from the SigningTable alone",
    "IgnoreMalformedMail": _FORM,
    "KeepAuthResults": "Authentication-Results of our own id in mail that comes in are removed in any case (RFC 8601)",
    "LDAPAuthMechanism": "a directory is asked after a simple bind, with TLS, or as nobody; SASL is not done",
    "LDAPBindPassword": _BIND,
    "LDAPBindUser": _BIND,
    "MaximumHeaders": "the gateway has bounds of its own; set header_size_limit in Postfix",
    "MaximumSignedBytes": _NEVER_L,
    "NoHeaderB": "header.b tells several signatures of a domain apart (RFC 6008), it is always there",
    "POPDBFile": "not supported; let clients authenticate",
    "Quarantine": "`[policy] quarantine_score`, and points for `dkim.dkim.fail` in `[policy] symbol_points`",
    "RedirectFailuresTo": "mail is not sent elsewhere; `[policy] quarantine_score` holds it in the MTA",
    "RemoveOldSignatures": "other signatures stay: they may be good for those who know the other signer",
    "ReplaceRules": "what is signed is what leaves; let the MTA rewrite before the filter (masquerading in cleanup(8))",
    "RequestReports": "r=y asks for reports that hardly anybody sends (RFC 6651)",
    "ResolverConfiguration": "the resolver is a process of its own: `[dns] nameservers`",
    "ScreenPolicyScript": _SCRIPT,
    "SelectCanonicalizationHeader": "a field of the mail does not choose the form; relaxed/relaxed survives most",
    "SenderMacro": "the author is read from a header field: SenderHeaders",
    "SendReports": _REPORTS,
    "SetupPolicyScript": _SCRIPT,
    "SoftwareHeader": "no field says that we were there; the trace does",
    "Statistics": "Prometheus metrics and traces of each process take its place",
    "StatisticsPolicyScript": _SCRIPT,
    "StrictHeaders": _FORM,
    "TestDNSData": "`--dns-zone FILE` of `tamis dkim` and `tamis scan` answers DNS from a file",
    "TestPublicKeys": "`--dns-zone FILE` of `tamis dkim` and `tamis scan` answers DNS from a file",
    "TrustAnchorFile": _DNSSEC,
    "UnprotectedKey": _DNSSEC,
    "VBR-Certifiers": _EXPERIMENT,
    "VBR-TrustedCertifiers": _EXPERIMENT,
    "VBR-Type": _EXPERIMENT,
    "WeakSyntaxChecks": "a From that cannot be read gets the finding `policy.from_malformed`, signatures are verified",
}

SWITCHES = frozenset(
    {
        *("AuthservIDWithJobID", "CaptureUnknownErrors", "Diagnostics", "DomainKeysCompat", "FixCRLF"),
        *("IdentityHeaderRemove", "IgnoreMalformedMail", "KeepAuthResults", "LDAPUseTLS", "MultipleSignatures"),
        *("NoHeaderB",),
        *("Quarantine", "RemoveOldSignatures", "RequestReports", "RequiredHeaders", "RequireSafeKeys", "ResignAll"),
        *("SendReports", "SoftwareHeader", "StrictHeaders", "SubDomains", "WeakSyntaxChecks"),
    }
)
"""Booleans about which more is to be said than that they have no object."""

HARMLESS: Mapping[str, str] = {
    "BogusKey": "none",
    "ChangeRootDirectory": "/",
    "LDAPAuthMechanism": "simple",
    "MaximumHeaders": "65536",
    "MaximumSignedBytes": "0",
    "UnprotectedKey": "none",
}
"""Values with which a keyword of NOT_CARRIED asks for nothing."""


@dataclass(frozen=True, slots=True)
class OnAction:
    """One of the actions by kind of failure."""

    ours: str
    """What is done here without being told."""
    instead: str
    """What to do when that is not what is wanted."""
    key: str = ""
    """Our key that says it; empty = there is none."""
    words: Mapping[str, str] = field(default_factory=dict)
    """OpenDKIM's word to ours; a word that is missing is not carried."""


_WORDS = {word: word for word in ("accept", "discard", "quarantine", "reject", "tempfail")}
ON_ACTIONS: Mapping[str, OnAction] = {
    "On-BadSignature": OnAction("accept", "", "policy.on_dkim.bad_signature", _WORDS),
    "On-DNSError": OnAction("accept", "", "policy.on_dkim.dns_error", _WORDS),
    "On-InternalError": OnAction(
        "",
        "`[policy.on_error] dkim` knows ignore, tempfail, quarantine and reject",
        "policy.on_error.dkim",
        {"accept": "ignore", "tempfail": "tempfail", "quarantine": "quarantine", "reject": "reject"},
    ),
    "On-KeyNotFound": OnAction("accept", "", "policy.on_dkim.key_not_found", _WORDS),
    "On-NoSignature": OnAction("accept", "", "policy.on_dkim.no_signature", _WORDS),
    "On-Security": OnAction("accept", "", "policy.on_dkim.security", _WORDS),
    "On-SignatureError": OnAction(
        "",
        "`[dkim.signing] on_failure` knows tempfail and unsigned",
        "dkim.signing.on_failure",
        {"accept": "unsigned", "tempfail": "tempfail"},
    ),
}

FORMER: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("AddAllSignatureResults", "ADSPAction", "ADSPNoSuchDomain", "BogusPolicy", "DisableADSP", "LocalADSP"),
            *("NoDiscardableMailTo", "On-PolicyError", "SendADSPReports", "UnprotectedPolicy"),
        ),
        "ADSP is historic (RFC 5617), OpenDKIM 2.10 has left it behind; DMARC takes its place",
    ),
    "BodyLengths": _NEVER_L,
    "DefaultSender": "mail without an author's address is not signed",
    "LDAPSoftStart": "now SoftStart; a table that is away does not stop us in any case",
    "X-Header": "now SoftwareHeader: no field says that we were there; the trace does",
}
"""Keywords of former versions, which OpenDKIM 2.11 warns of or refuses."""

DIFFERENT: Mapping[str, str] = {
    "Canonicalization": "OpenDKIM signs simple/simple, we relaxed/relaxed, which relays do not break",
    "DNSTimeout": "OpenDKIM waits 5 s for DNS, we 2 s",
    "MaximumSignaturesToVerify": "OpenDKIM verifies 3 signatures of a message, we 5",
    "On-DNSError": "OpenDKIM delays mail when DNS is silent, we judge it by the rest",
    "On-InternalError": "OpenDKIM delays mail when it fails, we judge it by the rest",
    "On-Security": "OpenDKIM delays mail whose signature holds, but not by its rules, we judge it by the rest",
    "On-SignatureError": "OpenDKIM refuses mail that it cannot sign, we delay it",
    "OversignHeaders": "OpenDKIM signs no field more often than it is there, we From, Reply-To, Subject, To and Cc",
    "SignHeaders": "we sign Sender, Message-ID and what says how to read the body, too",
}
"""What is otherwise here when the file does not say it."""

SHOULD_SIGN = (
    *("from", "reply-to", "subject", "date", "to", "cc", "resent-date", "resent-from", "resent-sender", "resent-to"),
    *("resent-cc", "in-reply-to", "references", "list-id", "list-help", "list-unsubscribe", "list-subscribe"),
    *("list-post", "list-owner", "list-archive"),
)
"""What `*` stands for in SignHeaders."""
SHOULD_NOT_SIGN = ("return-path", "received", "comments", "keywords", "bcc", "resent-bcc", "dkim-signature")
"""What `*` stands for in OmitHeaders."""
BASES: Mapping[str, tuple[str, ...]] = {
    "OmitHeaders": SHOULD_NOT_SIGN,
    "OversignHeaders": (),
    "SenderHeaders": ("from",),
    "SignHeaders": SHOULD_SIGN,
}

KNOWN: Mapping[str, str] = {
    keyword.lower(): keyword
    for keyword in (*SPECIAL, *CARRIED, *WITHOUT_OBJECT, *NOT_CARRIED, *ON_ACTIONS, "SignatureAlgorithm", *FORMER)
}
"""By lower case."""
