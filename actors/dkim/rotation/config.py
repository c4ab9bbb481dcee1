"""[dkim.rotation]: when keys are replaced, how DNS is told, and how long everything waits."""

from dataclasses import dataclass

from actors.dkim.rotation.selectors import check_pattern
from actors.dkim.signing.options import key_is_path
from wire.config import Section

RSA_BITS = (2048, 3072, 4096)
_DAY_S = 86_400
_DAYS_MAX = 3650
_TTL_S_MAX = 7 * _DAY_S
_TIMEOUT_S_MAX = 3600.0
TSIG_ALGORITHMS = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
"""RFC 8945 section 6, without those that it advises against."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of the settings, in seconds."""

    interval_s: float
    """0 = nothing begins by itself."""
    grace_s: float


class RotationConfig(Section, frozen=True):
    """[dkim.rotation]: new keys in place of old ones, by `tamis dkim rotate` and nobody else."""

    publish: str = ""
    """How DNS is told: zone-file, nsupdate or command; empty = keys are not rotated."""
    names: tuple[str, ...] = ("*",)
    """Names of the KeyTable's entries that are rotated; "*" stands for any text."""
    interval_days: int = 180
    """Age at which a key is replaced, counted from its file's time of change when nothing else is known; 0 = only by
    --now."""
    grace_days: int = 7
    """How long the old record stays after the switch: mail in queues is tried for 5 days (RFC 5321 section 4.5.4.1)."""
    selectors: tuple[str, ...] = ("{year}{month}{letter}",)
    """Names of new keys, tried in this order: {year}, {month}, {day} of the beginning in UTC, {letter} a to z, {type}
    rsa or ed25519; or fixed names that take turns, as ["a", "b"]. One that is in use is not taken."""
    key_type: str = "same"
    """Kind of the new key: rsa, ed25519, or same as the old one."""
    rsa_bits: int = RSA_BITS[0]
    """Size of new RSA keys: 2048, 3072 or 4096."""
    key_directory: str = ""
    """Where new keys are kept, as DOMAIN.SELECTOR.private; empty = beside the old one."""
    ttl_s: int = 3600
    """TTL of the records."""
    retire: str = "remove"
    """What becomes of the old record: remove, or revoke: an empty p= stays (RFC 6376 section 3.6.1)."""
    zone_file: str = ""
    """zone-file: the fragment that zones $INCLUDE, in which each key is one line; {domain} is the domain of the key.
    Other lines are left alone."""
    command: tuple[str, ...] = ()
    """command: program and arguments, to which ACTION (publish, revoke or remove), NAME and RECORD are added; no shell.
    zone-file: the same after the file was written, to raise the serial and load the zone; empty = others do that."""
    command_timeout_s: float = 60.0
    """After this the command is killed and counts as failed."""
    update_server: str = ""
    """nsupdate: host or host:port that takes updates (RFC 2136); empty = the primary in the zone's SOA."""
    tsig_file: str = ""
    """nsupdate: file with the TSIG key, as tsig-keygen writes it or the secret alone in base64."""
    tsig_environment: str = ""
    """nsupdate: environment variable with the same text; one of both."""
    tsig_name: str = ""
    """Name of the TSIG key where the text is the secret alone."""
    tsig_algorithm: str = "hmac-sha256"
    """Its algorithm: hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512."""
    name_servers: tuple[str, ...] = ()
    """Authoritative servers that must have a record, host or host:port; empty = those of the zone's NS records."""
    server_timeout_s: float = 3.0
    """How long a server may take for one answer; it is asked twice by UDP and once by TCP."""
    ipv6: bool = True
    """Name servers are asked at their IPv6 addresses, too; false where this machine has no IPv6."""
    begin_max: int = 100
    """So many rotations begin in one run at most."""
    state_directory: str = "/var/lib/tamis/dkim"
    """Where the state of each rotation is kept."""
    audit_log: str = ""
    """JSON lines, only appended to: who did what when; empty = audit.jsonl in `state_directory`."""

    def __post_init__(self) -> None:
        self._check_choices()
        for key, most in (("interval_days", _DAYS_MAX), ("grace_days", _DAYS_MAX), ("ttl_s", _TTL_S_MAX)):
            if not 0 <= getattr(self, key) <= most:
                raise ValueError(f"`{key}` must be at least 0 and at most {most}")
        for key in ("command_timeout_s", "server_timeout_s"):
            if not 0 < getattr(self, key) <= _TIMEOUT_S_MAX:
                raise ValueError(f"`{key}` must be greater than 0 and at most {_TIMEOUT_S_MAX:.0f} seconds")
        if self.begin_max < 1:
            raise ValueError("`begin_max` must be at least 1")
        if not self.selectors:
            raise ValueError("`selectors` must name one")
        for pattern in self.selectors:
            check_pattern(pattern)
        if self.key_directory and (not key_is_path(f"{self.key_directory}/") or set(self.key_directory) & set("#%")):
            raise ValueError("`key_directory` must begin with /, ./ or ../ and hold neither # nor %")
        self._check_publisher()

    def _check_choices(self) -> None:
        for key, choices in (
            ("publish", ("", "zone-file", "nsupdate", "command")),
            ("key_type", ("same", "rsa", "ed25519")),
            ("rsa_bits", RSA_BITS),
            ("retire", ("remove", "revoke")),
            ("tsig_algorithm", TSIG_ALGORITHMS),
        ):
            if getattr(self, key) not in choices:
                raise ValueError(f"`{key}` must be one of {', '.join(str(choice) for choice in choices if choice)}")

    def _check_publisher(self) -> None:
        if self.publish == "zone-file" and not self.zone_file:
            raise ValueError('`publish = "zone-file"` needs `zone_file`')
        if self.publish == "command" and not self.command:
            raise ValueError('`publish = "command"` needs `command`')
        if self.publish == "nsupdate" and bool(self.tsig_file) == bool(self.tsig_environment):
            raise ValueError('`publish = "nsupdate"` needs `tsig_file` or `tsig_environment`')
        if self.command and not self.command[0].startswith("/"):
            raise ValueError("`command` must begin with the whole path of a program")

    @property
    def timing(self) -> Timing:
        """Interval and grace."""
        return Timing(self.interval_days * _DAY_S, self.grace_days * _DAY_S)

    @property
    def audit_path(self) -> str:
        """Where the audit log is."""
        return self.audit_log or f"{self.state_directory}/audit.jsonl"
