"""[dkim.signing]: OpenDKIM's settings of signing under our names, each a data set in OpenDKIM's own notation."""

import re

from actors.dkim.signing.http_place import parse_http_place
from actors.dkim.signing.ldap_place import parse_ldap_place
from actors.dkim.signing.options import (
    KEY_BITS_MIN,
    OMIT_HEADERS,
    OVERSIGN_HEADERS,
    SIGN_HEADERS,
    SigningOptions,
    key_is_named,
)
from actors.dkim.signing.sql_place import parse_sql_place
from wire.config import Section

_ELSEWHERE = re.compile(r"(?:dsn:|file:|https?:|ldaps?:|redis:|refile:|sql:|/)")
"""What names a place; else the setting is the list itself."""
_DATA_SETS = (
    *("key_table", "signing_table", "internal_hosts", "external_ignore_list", "peer_list", "exempt_domains"),
    *("dont_sign_mail_to", "mta", "macro_list", "resign_mail_to", "seal_mail_to"),
)
_TIMEOUT_S_MAX = 3600.0
_CANONICALIZATIONS = ("simple", "relaxed")
_TTL_S_MAX = 10 * 365 * 86_400


class SigningConfig(Section, frozen=True):
    """[dkim.signing]: whose mail is signed and with which keys, by the cell and by `tamis dkim`."""

    key_table: str = ""
    """KeyTable: file:PATH, refile:PATH, csl:LIST, a path, redis:HASH (in the Redis of [redis]), OpenDKIM's dsn:...,
    sql:URL table=T keycol=K datacol=D,D,D, OpenDKIM's ldap://HOST/BASE?ATTRIBUTES?SCOPE?FILTER, or https://HOST/PATH,
    which has the form of a file; each entry NAME DOMAIN:SELECTOR:KEY; empty = nothing is signed."""
    signing_table: str = ""
    """SigningTable: as `key_table`; each entry ADDRESS NAME or ADDRESS NAME:IDENTITY."""
    multiple_signatures: bool = False
    """MultipleSignatures: every match of the SigningTable makes a signature; else the first alone."""
    table_timeout_s: float = 2.0
    """Cap of one question to a table in Redis, a database, a directory (LDAPTimeout) or at a web server; one that is
    away does not stop the start."""
    table_ttl_s: int = 60
    """How long an answer of such a table is kept, "there is none" too; 0 = not at all."""
    ldap_bind_user: str = ""
    """LDAPBindUser: distinguished name as which a directory is asked; empty = as nobody."""
    ldap_bind_password: str = ""
    """LDAPBindPassword: file:PATH or env:NAME of its password."""
    ldap_use_tls: bool = False
    """LDAPUseTLS: StartTLS before anything else at an ldap: server; ldaps: has TLS in any case."""
    ldap_ca_file: str = ""
    """PEM file of who signs the certificates of directories; empty = the system's authorities."""
    key_command: tuple[str, ...] = ()
    """What prints the key of `command:NAME` in a KeyTable: program and arguments, `{name}` for NAME, no shell:
    ["/usr/bin/vault", "kv", "get", "-field=key", "secret/dkim/{name}"]."""
    key_encryption_keys: tuple[str, ...] = ()
    """file:PATH or env:NAME of 32 bytes, also in hexadecimal or base64, that encrypt the keys of `redis:NAME`: the
    first seals, all of them open, so that another can take its place (`tamis dkim store-key --rewrap`)."""
    key_command_timeout_s: float = 5.0
    """Cap of one run of `key_command`; four run at the same time at most."""
    key_ttl_s: int = 300
    """How long such a key is kept in memory; 0 = it is asked for each time."""
    require_safe_keys: bool = True
    """RequireSafeKeys: a key file that others can read or write is refused."""
    key_bits_min: int = KEY_BITS_MIN
    """RSA keys below are refused (RFC 8301 section 3.2)."""
    canonicalization: str = "relaxed/relaxed"
    """Canonicalization of header and body; relaxed survives what relays do to white space."""
    signature_ttl_s: int = 0
    """SignatureTTL: signatures expire (x=) so long after they are made; 0 = never."""
    sign_headers: tuple[str, ...] = SIGN_HEADERS
    """SignHeaders: fields that are signed where the message has them; From always is."""
    omit_headers: tuple[str, ...] = OMIT_HEADERS
    """OmitHeaders: fields that are not signed (RFC 6376 section 5.4.1)."""
    oversign_headers: tuple[str, ...] = OVERSIGN_HEADERS
    """OversignHeaders: fields signed once more than the message has them, so that none can be added; From always is."""
    sender_headers: tuple[str, ...] = ("from",)
    """SenderHeaders: the first of these fields that is there names the author whose keys sign."""
    mode: str = "sv"
    """Mode: s = sign, v = verify, sv = both."""
    internal_hosts: str = "127.0.0.1"
    """InternalHosts: clients whose mail is signed: names, ".domain"s, addresses, networks, "!" excludes."""
    external_ignore_list: str = ""
    """ExternalIgnoreList: other clients that may use a signed domain without remark."""
    peer_list: str = ""
    """PeerList: clients whose mail is neither signed nor verified."""
    exempt_domains: str = ""
    """ExemptDomains: author domains whose mail is neither signed nor verified; a stranger's is verified unless exactly
    one domain can be the author's."""
    dont_sign_mail_to: str = ""
    """DontSignMailTo: mail to any of these recipients is not signed."""
    mta: str = ""
    """MTA: names of the MTA's daemons (macro daemon_name) whose mail is signed."""
    macro_list: str = ""
    """MacroList: macros that make mail be signed, NAME or NAME=VALUE|VALUE; the gateway passes on those that
    [gateway] macros names."""

    resign_mail_to: str = ""
    """ResignMailTo: mail to these recipients (ADDRESS, DOMAIN or .DOMAIN) is verified when it comes and signed when it
    leaves, with the key of the KeyTable that the entry names; for who forwards mail. One such recipient is enough, the
    first that is listed names the key, and all recipients get the same signed message. What claims to be written in
    the key's organization is signed only if a signature of its author's domain passes."""
    resign_all: bool = False
    """ResignAll: also what has no signature that passes, unless it claims to be written in the key's organization."""
    seal: str = "never"
    """Which mail that comes in gets an ARC set when it leaves: never, listed (to a recipient of `seal_mail_to`) or
    always. ARC is on its way to Historic: for who forwards to receivers that still look at it."""
    seal_mail_to: str = ""
    """Recipients (ADDRESS, DOMAIN or .DOMAIN) whose mail is forwarded."""
    seal_key: str = ""
    """DOMAIN:SELECTOR:KEY of the seals, as in the KeyTable; an RSA key. A seal that fails holds no mail."""
    on_failure: str = "tempfail"
    """What becomes of mail that cannot be signed, since a key, a table or the dkim actor fails: tempfail (it comes
    again), or unsigned (it passes, and says so in the degraded header). What can never be signed, since more than 200
    fields would have to be, does not come again: with tempfail it is refused at once (550 5.6.0), with unsigned it
    passes without that header. Either way mail whose author cannot be told (two From fields) passes unsigned, for it
    has no key, and so does forwarded mail that can never be signed."""

    def __post_init__(self) -> None:
        header, slash, body = self.canonicalization.partition("/")
        if header not in _CANONICALIZATIONS or (body if slash else "simple") not in _CANONICALIZATIONS:
            raise ValueError(
                "`canonicalization` must be simple or relaxed, of the header and of the body: relaxed/simple"
            )
        if self.mode not in ("s", "v", "sv", "vs"):
            raise ValueError("`mode` must be s, v or sv")
        if self.key_bits_min < KEY_BITS_MIN:
            raise ValueError(f"`key_bits_min` must be at least {KEY_BITS_MIN}")
        if not 0 <= self.signature_ttl_s <= _TTL_S_MAX:
            raise ValueError(f"`signature_ttl_s` must be at least 0 and at most {_TTL_S_MAX}")
        self._check_keys()
        self._check_tables()
        self._check_leaving()

    def _check_keys(self) -> None:
        if self.key_command and not any("{name}" in word for word in self.key_command[1:]):
            raise ValueError("`key_command` must have `{name}` in an argument")
        if not all(one.startswith(("file:", "env:")) for one in self.key_encryption_keys):
            raise ValueError("`key_encryption_keys` must be file:PATH or env:NAME")  # Not told: it may be the key.
        if bool(self.ldap_bind_user) != bool(self.ldap_bind_password):
            raise ValueError("`ldap_bind_user` and `ldap_bind_password` need each other")
        if self.ldap_bind_password and not self.ldap_bind_password.startswith(("file:", "env:")):
            raise ValueError("`ldap_bind_password` must be file:PATH or env:NAME")  # Not told: it may be the password.
        for key in ("key_command_timeout_s", "table_timeout_s"):
            if not 0 < getattr(self, key) <= _TIMEOUT_S_MAX:
                raise ValueError(f"`{key}` must be greater than 0 and at most {_TIMEOUT_S_MAX:.0f} seconds")
        for key in ("key_ttl_s", "table_ttl_s"):
            if not 0 <= getattr(self, key) <= _TTL_S_MAX:
                raise ValueError(f"`{key}` must be at least 0 and at most {_TTL_S_MAX}")

    def _check_tables(self) -> None:
        if bool(self.key_table) != bool(self.signing_table):
            raise ValueError("`key_table` and `signing_table` need each other")
        for key in _DATA_SETS:
            try:
                _check_place(getattr(self, key), is_list=key not in ("key_table", "signing_table"))
            except ValueError as error:
                raise ValueError(f"`{key}`: {error}") from None
        if not _ELSEWHERE.match(self.key_table) and any(
            not key_is_named(pair.partition("=")[2].split(":", 2)[-1].strip())
            for pair in self.key_table.split(",")
            if pair
        ):
            # Not told: it may be the key, which would be shown wherever settings are.
            raise ValueError("`key_table` is a list whose keys are not all paths of files, redis: or command:")

    def _check_leaving(self) -> None:
        if not self.sender_headers:
            raise ValueError("`sender_headers` must name a field")
        if self.seal not in ("never", "listed", "always"):
            raise ValueError("`seal` must be never, listed or always")
        if self.seal != "never" and not key_is_named(self.seal_key.split(":", 2)[-1].strip()):
            raise ValueError(
                "`seal` needs a `seal_key` DOMAIN:SELECTOR:KEY, a path, redis: or command:"
            )  # Not told: it may be the key.
        if self.on_failure not in ("tempfail", "unsigned"):
            raise ValueError("`on_failure` must be tempfail or unsigned")

    @property
    def configured(self) -> bool:
        """Whether mail is looked at for that at all."""
        return bool(self.key_table) or self.seals

    @property
    def seals(self) -> bool:
        """Whether any mail is sealed."""
        return self.seal != "never"

    @property
    def signs(self) -> bool:
        """Whether any mail is signed."""
        return bool(self.key_table) and "s" in self.mode

    def options(self) -> SigningOptions:
        """How signatures look."""
        header, _, body = self.canonicalization.partition("/")
        return SigningOptions(
            relaxed_header=header == "relaxed",
            relaxed_body=body == "relaxed",
            sign_headers=tuple(name.lower() for name in self.sign_headers),
            omit_headers=tuple(name.lower() for name in self.omit_headers),
            oversign_headers=tuple(name.lower() for name in self.oversign_headers),
            ttl_s=self.signature_ttl_s,
        )


def _check_place(setting: str, *, is_list: bool) -> None:
    """Raises ValueError for a data set whose place cannot be; lists are read whole."""
    kind = setting.partition(":")[0]
    if kind in ("dsn", "sql"):
        parse_sql_place(setting)
    elif kind in ("http", "https"):
        parse_http_place(setting)
    elif kind in ("ldap", "ldaps"):
        place = parse_ldap_place(setting)
        if is_list and not place.name_attribute:
            raise ValueError("a list in LDAP is read whole: $d stands once, in the filter, as (ATTRIBUTE=$d)")
