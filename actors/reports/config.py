"""The settings of DMARC aggregate reports: section [dmarc_report]."""

from enum import StrEnum
from itertools import chain

import msgspec

from actors.reports.names import is_domain, is_mailbox
from wire.config import Section

_BOUNDS = {
    "rows_max": (1, 10_000_000),
    "day_bytes_max": (2**20, 2**40),
    "mail_bytes_max": (1024, 2**30),
    "keep_days": (1, 90),
}
_TEXT_CHARS_MAX = 200
_CELL_CHARS_MAX = 32
_SMTP_PORT = 25


class SmtpTls(StrEnum):
    """What the connection to the server that takes the reports must be, in the words of Postfix."""

    MAY = "may"
    ENCRYPT = "encrypt"
    VERIFY = "verify"


class DmarcReportConfig(Section, frozen=True):
    """[dmarc_report]: aggregate reports (RFC 9990) for the owners of the domains that mail says it is from.

    Counted in [redis] while mail comes in, made and sent by `tamis dmarc report`.
    """

    domain: str = ""
    """Domain in whose name is reported: the receiver in file names and subjects, and in report ids; empty = nothing is
    counted. The reports' own mail must pass DMARC for it (RFC 9990 section 3.5.2)."""
    cell: str = ""
    """Letters and digits, wherever several cells that have a Redis each report for one `domain`: by it their reports
    about the same day have ids and file names of their own, and none passes for a duplicate of the other."""
    org_name: str = ""
    """Name of the organization that reports; empty = `domain`."""
    email: str = ""
    """Address that reports come from and that may be asked about them; empty = postmaster@ `domain`."""
    extra_contact_info: str = ""
    """Further contact, such as the URL of a page about the reports; empty = none."""
    exclude_domains: tuple[str, ...] = ()
    """Domains that get no report, with their subdomains, for instance those that report to ourselves."""
    exclude_addresses: tuple[str, ...] = ()
    """Addresses that get no report, for instance those whose mail only bounces."""
    destinations: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """By Policy Domain, addresses that get its reports instead of those in its record; nobody is asked whether they
    agree. Counted is still only what a record with `rua` asks about."""
    smtp: str = ""
    """HOST:PORT of the server that takes the mail of the reports, usually the operator's own MTA, which finds out where
    it goes and signs it; empty = the command must say it. Port 25 unless told."""
    smtp_tls: SmtpTls = SmtpTls.MAY
    """`may`: encrypted if that server offers it; `encrypt`: no mail otherwise; `verify`: and only if its certificate is
    one of its name that this machine trusts."""
    mail_bytes_max: int = 10_000_000
    """Longest mail that is offered to that server, below the 10,240,000 bytes that Postfix takes by default. A longer
    report is not sent, and told by the command."""
    rows_max: int = 10_000
    """Distinct rows a day about one domain; messages that would need a further one are dropped and counted."""
    day_bytes_max: int = 512 * 1024 * 1024
    """Counts of a day in Redis, about; beyond, no new rows and domains are taken. Each ingress may pass it by what it
    counts in a second."""
    keep_days: int = 7
    """Days after its end for which the counts of a day are kept: so long may its reports be made."""

    def __post_init__(self) -> None:
        if self.domain and not is_domain(self.domain):
            raise ValueError("`domain` must be a domain name in lower case")
        if self.email and not is_mailbox(self.email):
            raise ValueError("`email` must be an address such as dmarc@example.org, its domain in lower case")
        if self.cell and not (self.cell.isascii() and self.cell.isalnum() and len(self.cell) <= _CELL_CHARS_MAX):
            raise ValueError(f"`cell` must be up to {_CELL_CHARS_MAX} letters and digits")
        for key in ("org_name", "extra_contact_info"):
            if not getattr(self, key).isprintable() or len(getattr(self, key)) > _TEXT_CHARS_MAX:
                raise ValueError(f"`{key}` must be up to {_TEXT_CHARS_MAX} printable characters")
        for key, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"`{key}` must be between {least} and {most}")
        if self.smtp:
            read_server(self.smtp)
        self._check_exceptions()

    def _check_exceptions(self) -> None:
        """What the operator says about single domains and addresses."""
        for key in ("exclude_domains", "destinations"):
            for domain in getattr(self, key):
                if not is_domain(domain):
                    raise ValueError(f"`{key}` holds {domain!r}, which is no domain name in lower case")
        for address in (*self.exclude_addresses, *chain.from_iterable(self.destinations.values())):
            if not is_mailbox(address):
                raise ValueError(f"{address!r} is no address such as dmarc@example.org, its domain in lower case")

    @property
    def contact(self) -> str:
        """The address that reports come from."""
        return self.email or f"postmaster@{self.domain}"

    def excludes(self, domain: str) -> bool:
        """Whether this Policy Domain gets no report."""
        return f".{domain}".endswith(tuple(f".{excluded}" for excluded in self.exclude_domains))


def read_server(text: str) -> tuple[str, int]:
    """HOST:PORT, HOST or [ADDRESS]:PORT as (host, port). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(_SMTP_PORT)
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ValueError(f"`smtp`: {text!r}: not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
