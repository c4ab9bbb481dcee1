"""The settings of the judgement: sections [dns] [redis] [dkim] [policy] [classifier] [antivirus] [headers].

Each key says what it means, its default and why; docs/configuration.md repeats them and a test compares the two.
"""

import msgspec

from wire.config import Section


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


class RedisConfig(Section, frozen=True):
    """[redis]: shared state."""

    url: str = ""
    """redis://, rediss:// or unix:// URL; empty = no shared state, its checks are absent."""
    timeout_s: float = 0.5
    """Cap of one command."""


class DkimConfig(Section, frozen=True):
    """[dkim]: verification."""

    signatures_max: int = 5
    """Signatures verified per message; more are reported as skipped (a message with 1,000 must not cost 1,000)."""
    key_bits_min: int = 1024
    """RSA keys below are a policy failure (RFC 8301 section 3.2)."""
    clock_drift_s: int = 300
    """Tolerance for t= in the future and x= in the past."""


class ClassifierConfig(Section, frozen=True):
    """[classifier]: the spam model."""

    model: str = ""
    """Path of a .safetensors model with its .json card beside it; empty = the shipped one."""


class AntivirusConfig(Section, frozen=True):
    """[antivirus]: engines and rules."""

    clamd: tuple[str, ...] = ()
    """clamd sockets, "unix:/run/clamav/clamd.ctl" or "host:port"; empty = no clamd, yara rules only."""
    clamd_timeout_s: float = 10.0
    """Cap of one scan."""
    clamd_stream_bytes_max: int = 25 * 1024 * 1024
    """Bytes sent to clamd, at most its StreamMaxLength; a longer message is reported as not scanned (error)."""
    yara_rules: tuple[str, ...] = ()
    """Further .yar files beside the shipped rules."""
    yara_timeout_s: float = 2.0
    """Cap of one yara-x scan."""


class HeadersConfig(Section, frozen=True):
    """[headers]: what is written into the message."""

    authserv_id: str = ""
    """authserv-id of Authentication-Results (RFC 8601 section 2.5); empty = the MTA's own name (macro j)."""
    authentication_results: bool = True
    """Write Authentication-Results; forged ones of our authserv-id are removed in any case."""
    flag: str = "X-Spam-Flag"
    """Name of the YES header, written only for spam; empty = none. Incoming fields of this name are removed."""
    score: str = "X-Spam-Score"
    """Name of the score header; empty = none."""
    status: str = "X-Spam-Status"
    """Name of the header with verdict, score, threshold and symbols; empty = none."""
    degraded: str = "X-Tamis-Degraded"
    """Name of the header that lists the actors that were missing; empty = none."""
    subject_tag: str = "[SPAM] "
    """Prefix of the Subject for action rewrite_subject."""


class ErrorPolicy(Section, frozen=True):
    """[policy.on_error]: what an `error` finding of each actor means: ignore, tempfail, quarantine, reject."""

    dkim: str = "ignore"
    policy: str = "ignore"
    classifier: str = "ignore"
    antivirus: str = "tempfail"
    milter: str = "tempfail"

    def __post_init__(self) -> None:
        for actor in self.__struct_fields__:
            if getattr(self, actor) not in ("ignore", "tempfail", "quarantine", "reject"):
                raise ValueError(f"`{actor}` must be ignore, tempfail, quarantine or reject")


class Lists(Section, frozen=True):
    """[policy.lists]: allow and deny lists; addresses and domains in any case, "example.org" covers subdomains."""

    allow_clients: tuple[str, ...] = ()
    """IP addresses or CIDR networks whose mail is accepted without scoring (antivirus still rejects)."""
    deny_clients: tuple[str, ...] = ()
    allow_senders: tuple[str, ...] = ()
    """Envelope senders or domains; count only when SPF or aligned DKIM passes."""
    deny_senders: tuple[str, ...] = ()
    deny_recipients: tuple[str, ...] = ()
    """Refused at RCPT."""
    redis_prefix: str = ""
    """When set and Redis is configured: sets PREFIX:deny_clients, :deny_senders, :deny_recipients are asked too."""


class PolicyConfig(Section, frozen=True):
    """[policy]: scores, thresholds and what errors mean."""

    add_header_score: float = 5.0
    rewrite_subject_score: float = 0.0
    """0 = never: rewriting a Subject breaks DKIM signatures for those who verify later."""
    quarantine_score: float = 0.0
    """0 = never."""
    reject_score: float = 15.0
    classifier_points_max: float = 10.0
    """Points of the classifier at probability 1; 0.5 gives 0 and it is linear in the log-odds between."""
    classifier_spam_probability: float = 0.5
    """Probability at which the classifier alone reaches add_header_score (the shipped model is calibrated to it)."""
    spf_points: dict[str, float] = msgspec.field(
        default_factory=lambda: {"fail": 3.0, "softfail": 1.0, "permerror": 1.0}
    )
    dmarc_points: dict[str, float] = msgspec.field(
        default_factory=lambda: {"reject": 4.0, "quarantine": 3.0, "none": 0.5}
    )
    """Points for a DMARC failure by the policy the domain owner published."""
    dmarc_reject: bool = False
    """Reject when DMARC fails and the domain says p=reject (RFC 9989 section 8 warns: mailing lists)."""
    symbol_points: dict[str, float] = msgspec.field(default_factory=dict)
    """Points for any finding `actor.name` or `actor.name.outcome`, added to the above."""
    lists: Lists = Lists()
    on_error: ErrorPolicy = ErrorPolicy()


class JudgementConfig(Section, frozen=True):
    """Everything the actors and `decide` need, as one value that travels to every process."""

    dns: DnsConfig = DnsConfig()
    redis: RedisConfig = RedisConfig()
    dkim: DkimConfig = DkimConfig()
    policy: PolicyConfig = PolicyConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    antivirus: AntivirusConfig = AntivirusConfig()
    headers: HeadersConfig = HeadersConfig()
