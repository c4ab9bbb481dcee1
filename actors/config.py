"""The settings of the judgement: sections [dns] [redis] [dkim] [policy] [classifier] [antivirus] [headers].

Each key says what it means, its default and why; docs/configuration.md repeats them and a test compares the two.
"""

import asyncio
import ipaddress
import re
from pathlib import Path

import msgspec

from actors.classifier.campaigns.config import CampaignConfig
from actors.classifier.learning.config import LearningConfig
from actors.dkim.rotation.config import RotationConfig
from actors.dkim.signing.config import SigningConfig
from actors.policy.config import DkimFailures, FormFailures
from actors.redis_url import parse_redis_url
from actors.reports.config import DmarcReportConfig
from wire.config import ConfigError, Section

_POINTS_MAX = 1e6
_TIMEOUT_S_MAX = 3600.0
_FIELD_NAME_CHARS_MAX = 100
_SIGNATURES_MAX = 50
_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.\-]{0,252})")


def _check_timeouts(section: Section, *keys: str) -> None:
    for key in keys:
        if not 0 < getattr(section, key) <= _TIMEOUT_S_MAX:
            raise ValueError(f"`{key}` must be greater than 0 and at most {_TIMEOUT_S_MAX:.0f} seconds")


def _check_least(section: Section, **least: int) -> None:
    for key, number in least.items():
        if getattr(section, key) < number:
            raise ValueError(f"`{key}` must be at least {number}")


def _is_address(text: str, *, port_required: bool) -> bool:
    """Whether text is host:port or [IPv6]:port, or without required port also a host or an IP address."""
    if not port_required and _is_ip(text):
        return True
    host, colon, port = text.rpartition(":")
    if not colon or (text.startswith("[") and text.endswith("]")):
        host, port = text, "" if port_required else "53"
    is_host = _is_ip(host[1:-1]) if host.startswith("[") and host.endswith("]") else bool(_HOST.fullmatch(host))
    return is_host and port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 1 << 16


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class DnsConfig(Section, frozen=True):
    """[dns]: how names are looked up."""

    nameservers: tuple[str, ...] = ()
    """host:port or host of caching resolvers, asked in order; empty = those of /etc/resolv.conf."""
    timeout_s: float = 2.0
    """Cap of one question, retries included."""
    cache_entries: int = 50_000
    """Answers kept per process."""
    negative_ttl_s: int = 60
    """How long "no such name" is kept (the answer's SOA is not visible to us)."""

    def __post_init__(self) -> None:
        for server in self.nameservers:
            if not _is_address(server, port_required=False):
                raise ValueError(f"`nameservers` holds {server!r}, which is neither host nor host:port")
        _check_timeouts(self, "timeout_s")
        _check_least(self, cache_entries=0, negative_ttl_s=0)


class RedisConfig(Section, frozen=True):
    """[redis]: shared state."""

    url: str = ""
    """redis://, rediss:// or unix:// URL of one server, redis+sentinel://HOST:PORT,HOST:PORT/SET of the primary that
    Sentinels name, or redis+cluster://HOST:PORT,HOST:PORT; empty = no shared state, its checks are absent."""
    timeout_s: float = 0.5
    """Cap of one command."""

    def __post_init__(self) -> None:
        if self.url and not _is_redis_url(self.url):
            raise ValueError(
                "`url` must be a redis://, rediss://, redis+sentinel://, redis+cluster:// or unix:// URL"
            )  # not told: it may hold a password
        _check_timeouts(self, "timeout_s")


def _is_redis_url(url: str) -> bool:
    try:
        parse_redis_url(url)
    except ValueError:
        return False
    return True


class DkimConfig(Section, frozen=True):
    """[dkim]: verification; [dkim.signing] and [dkim.rotation] below it."""

    signatures_max: int = 5
    """Signatures verified per message, at most 50; the rest is reported as skipped (1,000 signatures must not cost
    1,000). Verified are those of `signers_first`, then those nearest to the domain of From, then the topmost."""
    key_bits_min: int = 1024
    """RSA keys below are a policy failure (RFC 8301 section 3.2)."""
    clock_drift_s: int = 300
    """Tolerance for t= in the future and x= in the past."""
    unsigned_tail: str = "policy"
    """What a good signature is worth whose l= leaves text at the end unsigned (RFC 6376 section 8.2): policy or fail,
    neither of which is a pass for DMARC, or pass for those who trust such text all the same."""
    must_be_signed: tuple[str, ...] = ()
    """Header fields every one of which a signature has to cover where the message has them, else it is worth no more
    than `policy` (OpenDKIM's MustBeSigned). From always is covered: a second one breaks the signature."""
    signers_first: tuple[str, ...] = ()
    """Domains whose signatures are verified before all others when there are more than `signatures_max` (OpenDKIM's
    TrustSignaturesFrom)."""
    trusted_sealers: tuple[str, ...] = ()
    """Domains (d= of ARC-Seal) of forwarders whose word counts: a DMARC failure is forgiven when the chain holds and
    one of them, with none but them after it, saw DMARC pass for the same author. Empty: ARC is only reported."""
    signing: SigningConfig = SigningConfig()
    rotation: RotationConfig = RotationConfig()

    def __post_init__(self) -> None:
        # RFC 8301 section 3.2: shorter RSA keys must not be taken for valid.
        _check_least(self, signatures_max=1, key_bits_min=1024, clock_drift_s=0)
        if self.signatures_max > _SIGNATURES_MAX:
            raise ValueError(f"`signatures_max` must be at most {_SIGNATURES_MAX}")
        if self.unsigned_tail not in ("policy", "fail", "pass"):
            raise ValueError("`unsigned_tail` must be policy, fail or pass")


class ClassifierConfig(Section, frozen=True):
    """[classifier]: the spam model."""

    model: str = ""
    """Path of a .safetensors model with its .json card beside it; empty = the shipped one. Give every model a file of
    its own: `tamis rollout back` goes back to the path."""
    shadow_model: str = ""
    """Path of a second model that scores a share of the mail too and is in no verdict: `tamis model report` compares it
    with the first. Empty = none."""
    shadow_share: float = 0.05
    """Share of the messages that the second model scores, by transaction id: 0.05 = one of twenty."""
    campaigns: CampaignConfig = CampaignConfig()
    learning: LearningConfig = LearningConfig()

    def __post_init__(self) -> None:
        if not 0 <= self.shadow_share <= 1:
            raise ValueError("`shadow_share` must be between 0 and 1")


class AntivirusConfig(Section, frozen=True):
    """[antivirus]: engines and rules."""

    clamd: tuple[str, ...] = ()
    """clamd sockets, "unix:/run/clamav/clamd.ctl" or "host:port"; empty = no clamd, yara rules only."""
    clamd_timeout_s: float = 10.0
    """Cap of one scan."""
    clamd_stream_bytes_max: int = 25 * 1024 * 1024
    """Bytes sent to clamd at once, at most its StreamMaxLength; of a longer message it gets the decoded parts one by
    one, and what is still too long is `uninspected`."""
    yara_rules: tuple[str, ...] = ()
    """Further .yar files beside the shipped rules."""
    yara_timeout_s: float = 2.0
    """Time of the rules for all contents of a message; what was not reached then is `uninspected`."""

    def __post_init__(self) -> None:
        for address in self.clamd:
            path = address.removeprefix("unix:") if address.startswith("unix:") else ""
            if not path.startswith("/") and not _is_address(address, port_required=True):
                raise ValueError(f"`clamd` holds {address!r}, which is neither unix:/PATH nor host:port")
        _check_timeouts(self, "clamd_timeout_s", "yara_timeout_s")
        _check_least(self, clamd_stream_bytes_max=1)


class HeadersConfig(Section, frozen=True):
    """[headers]: what is written into the message."""

    authserv_id: str = ""
    """authserv-id of Authentication-Results (RFC 8601 section 2.5); empty = the MTA's own name (macro j)."""
    removed_authserv_ids: tuple[str, ...] = ()
    """Further ids whose Authentication-Results are removed from what comes in: former names, other hosts of ours;
    ".example.org" is every id below that domain, "*" every id at all (OpenDKIM's RemoveARFrom)."""
    authserv_id_with_queue_id: bool = False
    """Write "ID/QUEUE-ID" in place of the id (OpenDKIM's AuthservIDWithJobID). As ours is read either form."""
    authentication_results: bool = True
    """Write Authentication-Results; forged ones of our authserv-id are removed in any case."""
    flag: str = "X-Spam-Flag"
    """Name of the YES header, written only for spam; empty = none. Incoming fields of this name are removed."""
    score: str = "X-Spam-Score"
    """Name of the score header; empty = none."""
    status: str = "X-Spam-Status"
    """Name of the header with verdict, score, threshold and symbols; empty = none."""
    degraded: str = "X-Tamis-Degraded"
    """Name of the header that lists the actors that were missing and what the antivirus could not look into; cannot
    be empty, mail is never passed unmarked."""
    subject_tag: str = "[SPAM] "
    """Prefix of the Subject for action rewrite_subject."""

    def __post_init__(self) -> None:
        for key in ("flag", "score", "status", "degraded"):
            name = getattr(self, key)
            # RFC 5322 section 3.6.8: printable ASCII without colon.
            if not (name.isascii() and name.isprintable()) or ":" in name or " " in name:
                raise ValueError(f"`{key}` must be a header field name")
            if len(name) > _FIELD_NAME_CHARS_MAX:
                raise ValueError(f"`{key}` must not be longer than {_FIELD_NAME_CHARS_MAX} characters")
        if not self.degraded:
            raise ValueError("`degraded` must not be empty: mail that was not fully checked has to say so")
        if not (self.authserv_id.isascii() and self.authserv_id.isprintable()) or " " in self.authserv_id:
            raise ValueError("`authserv_id` must be printable ASCII without spaces")
        for one in self.removed_authserv_ids:
            if not one or not one.isascii() or not one.isprintable() or " " in one:
                raise ValueError("`removed_authserv_ids` must hold printable ASCII without spaces")


class ErrorPolicy(Section, frozen=True):
    """[policy.on_error]: what an `error` finding or an uninspected part means: ignore, tempfail, quarantine, reject."""

    dkim: str = "ignore"
    """No DKIM or ARC result: the mail is judged by the rest and marked."""
    policy: str = "ignore"
    """No SPF, DMARC or list result: the same."""
    classifier: str = "ignore"
    """No spam probability: the same."""
    antivirus: str = "tempfail"
    """Not scanned for malware: the client comes back later, when it can be."""
    milter: str = "tempfail"
    """A child milter without an answer."""
    uninspected: str = "ignore"
    """Parts that the antivirus cannot look into (encrypted, nested too deep, too large): the mail passes marked. Not
    tempfail, since it never gets better."""

    def __post_init__(self) -> None:
        for key in self.__struct_fields__:
            if getattr(self, key) not in ("ignore", "tempfail", "quarantine", "reject"):
                raise ValueError(f"`{key}` must be ignore, tempfail, quarantine or reject")
        if self.uninspected == "tempfail":
            raise ValueError("`uninspected` must be ignore, quarantine or reject: no later attempt could be inspected")


class Lists(Section, frozen=True):
    """[policy.lists]: allow and deny lists; addresses and domains in any case, "example.org" covers subdomains."""

    allow_clients: tuple[str, ...] = ()
    """IP addresses or CIDR networks whose mail is accepted without scoring (malware and GTUBE are still refused)."""
    deny_clients: tuple[str, ...] = ()
    """IP addresses or CIDR networks whose mail is refused: at RCPT, or at CONNECT if `[gateway.early]` says so."""
    deny_helos: tuple[str, ...] = ()
    """Names given with HELO or EHLO: "host.example" is that name alone, ".example" every name below. Refused at RCPT,
    or at HELO if `[gateway.early]` says so."""
    allow_senders: tuple[str, ...] = ()
    """Envelope senders or domains; count only when SPF or aligned DKIM passes."""
    allow_authors: tuple[str, ...] = ()
    """Domains of From, accepted without scoring like the others; count only when DMARC passes."""
    proven_authors: tuple[str, ...] = ()
    """Domains of From that are refused when DMARC fails, whatever their record asks for: one's own, and those worth
    forging; and when From shows them in a way that DMARC cannot judge: beside another domain, in several fields, or
    malformed; and when From holds more than is read. Not judged without a DMARC record otherwise."""
    deny_senders: tuple[str, ...] = ()
    """Envelope senders or domains, refused at RCPT, or at MAIL if `[gateway.early]` says so."""
    deny_recipients: tuple[str, ...] = ()
    """Refused at RCPT."""
    redis_prefix: str = ""
    """When set and Redis is configured: sets PREFIX:deny_clients, :deny_senders, :deny_recipients are asked too.
    Members: IP addresses; addresses or domains in lower case, a domain covers its subdomains."""

    def __post_init__(self) -> None:
        for key in ("allow_clients", "deny_clients"):
            for entry in getattr(self, key):
                try:
                    ipaddress.ip_network(entry, strict=False)
                except ValueError:
                    raise ValueError(f"`{key}` holds {entry!r}, which is no IP address or network") from None


class PolicyConfig(Section, frozen=True):
    """[policy]: scores, thresholds and what errors mean."""

    add_header_score: float = 5.0
    """From here the message is spam: it gets the flag header."""
    rewrite_subject_score: float = 0.0
    """0 = never: rewriting a Subject breaks DKIM signatures for those who verify later."""
    quarantine_score: float = 0.0
    """0 = never."""
    reject_score: float = 15.0
    """From here the message is refused; 0 = never."""
    classifier_spam_probability: float = 0.5
    """Probability at which the classifier alone reaches add_header_score (the shipped model is calibrated to it).
    A tenth of its odds gives 0 points; in between it is linear in the logarithm of the odds."""
    classifier_points_max: float = 10.0
    """Points at 1000 times those odds and more; below reject_score, so that the classifier alone never rejects."""
    classifier_points_min: float = -3.0
    """Points at a 1000th of those odds and less: what surely is ham may have a flaw elsewhere."""
    spf_points: dict[str, float] = msgspec.field(
        default_factory=lambda: {"fail": 3.0, "softfail": 1.0, "permerror": 1.0}
    )
    """Points by SPF result (RFC 7208 section 2.6)."""
    dmarc_points: dict[str, float] = msgspec.field(default_factory=lambda: {"reject": 4.0, "quarantine": 3.0})
    """Points for a DMARC failure by the policy the domain owner published; `none` must not change the handling of
    mail (RFC 9989 section 5.4)."""
    dmarc_reject: bool = False
    """Reject when DMARC fails and the domain says p=reject. Off: RFC 9989 section 5.4 wants no rejection for that
    alone, since mail of mailing lists fails too."""
    dmarc_public_suffixes: bool = False
    """Find DMARC records and organizations by the public suffix list (RFC 7489) instead of the DNS tree walk of
    RFC 9989: for comparison with receivers that have not changed yet."""
    symbol_points: dict[str, float] = msgspec.field(
        default_factory=lambda: {
            "policy.from_missing": 2.0,
            "policy.from_malformed": 2.0,
            "policy.from_multiple": 1.0,
            "classifier.campaign.hit": 8.0,
        }
    )
    """Points for any finding `actor.name` or `actor.name.outcome`, added to the above, each symbol once. A table of
    one's own replaces the default one (of 4,150 SpamAssassin ham none has such a From, of 1,500 phishing 203). A copy
    of reported spam gets what makes it spam even where the classifier is sure of the contrary (8 - 3 = 5), and alone
    it is not refused."""
    lists: Lists = Lists()
    on_error: ErrorPolicy = ErrorPolicy()
    on_dkim: DkimFailures = DkimFailures()
    on_form: FormFailures = FormFailures()

    def __post_init__(self) -> None:
        if not 0 < self.classifier_spam_probability < 1:
            raise ValueError("`classifier_spam_probability` must be between 0 and 1")
        if self.add_header_score <= 0:
            raise ValueError("`add_header_score` must be greater than 0")
        for key in ("rewrite_subject_score", "quarantine_score", "reject_score"):
            if getattr(self, key) < 0:
                raise ValueError(f"`{key}` must not be negative; 0 = never")
        if self.classifier_points_max < self.add_header_score:
            raise ValueError("`classifier_points_max` must be at least `add_header_score`")
        if self.classifier_points_min > 0:
            raise ValueError("`classifier_points_min` must not be greater than 0")
        numbers = [getattr(self, key) for key in self.__struct_fields__]
        points = (*self.spf_points.values(), *self.dmarc_points.values(), *self.symbol_points.values())
        if not all(abs(number) <= _POINTS_MAX for number in (*numbers, *points) if isinstance(number, float)):
            raise ValueError(f"points and scores must be numbers up to {_POINTS_MAX:.0f}")


class JudgementConfig(Section, frozen=True):
    """Everything the actors and `decide` need, as one value that travels to every process."""

    dns: DnsConfig = DnsConfig()
    redis: RedisConfig = RedisConfig()
    dkim: DkimConfig = DkimConfig()
    policy: PolicyConfig = PolicyConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    antivirus: AntivirusConfig = AntivirusConfig()
    headers: HeadersConfig = HeadersConfig()
    dmarc_report: DmarcReportConfig = DmarcReportConfig()


async def check_signing(config: JudgementConfig) -> None:
    """Raises ConfigError when the tables and lists of [dkim.signing] cannot be read, on this machine and now.

    Not whether every key can: there may be a hundred thousand, and one of them that cannot is that domain's trouble.
    """
    if not config.dkim.signing.configured:
        return
    from actors.adapters.clock import SystemClock  # noqa: PLC0415  only where something is signed
    from actors.adapters.dkim_sources import SigningSources  # noqa: PLC0415
    from actors.dkim.signing.tables import TableError, TableUnavailable  # noqa: PLC0415

    if config.dkim.signing.seals and not config.headers.authentication_results:
        raise ConfigError("[dkim.signing] seal: a seal vouches for [headers] authentication_results, which are off")
    try:
        # In a thread: a large table takes a second.
        sources = await asyncio.to_thread(SigningSources, config.dkim.signing, config.redis, SystemClock())
        try:
            await sources.rules()
        finally:
            await sources.close()
    except TableUnavailable:
        return  # A service that is away does not stop the start.
    except TableError as error:
        raise ConfigError(f"[dkim.signing]: {error}") from error


def check_files(config: JudgementConfig) -> None:
    """Raises ConfigError when a file that the settings name is not there, on this machine and now."""
    for rules in config.antivirus.yara_rules:
        if not Path(rules).is_file():
            raise ConfigError(f"[antivirus] yara_rules: {rules} is no file")
    for key in ("model", "shadow_model"):
        path = getattr(config.classifier, key)
        if path and not Path(path).is_file():
            raise ConfigError(f"[classifier] {key}: {path} is no file")
