"""The settings of DMARC aggregate reports: section [dmarc_report]."""

from actors.reports.names import is_domain, is_mailbox
from wire.config import Section

_ROW_BYTES_MIN = 1024 * 1024


class DmarcReportConfig(Section, frozen=True):
    """[dmarc_report]: aggregate reports (RFC 9990) for the owners of the domains that mail says it is from.

    Counted in [redis] while mail comes in, made and sent by `tamis dmarc report`.
    """

    domain: str = ""
    """Domain in whose name is reported: the receiver in file names and subjects, and in report ids; empty = nothing is
    counted. The reports' own mail must pass DMARC for it (RFC 9990 section 3.5.2)."""
    org_name: str = ""
    """Name of the organization that reports; empty = `domain`."""
    email: str = ""
    """Address that reports come from and that may be asked about them; empty = postmaster@ `domain`."""
    extra_contact_info: str = ""
    """Further contact, such as the URL of a page about the reports; empty = none."""
    exclude_domains: tuple[str, ...] = ()
    """Domains that get no report, with their subdomains, for instance those that report to ourselves."""
    rows_max: int = 10_000
    """Distinct rows a day about one domain; messages that would need a further one are dropped and counted."""
    day_bytes_max: int = 256 * 1024 * 1024
    """Counts of a day in Redis, about; beyond, no new rows and domains are taken. Each ingress may pass it by what it
    counts in 5 seconds."""
    keep_days: int = 7
    """Days after its end for which the counts of a day are kept: so long may its reports be made."""

    def __post_init__(self) -> None:
        if self.domain and not is_domain(self.domain):
            raise ValueError("`domain` must be a domain name in lower case")
        if self.email and not is_mailbox(self.email):
            raise ValueError("`email` must be an address such as dmarc@example.org, its domain in lower case")
        for key in ("org_name", "extra_contact_info"):
            if not getattr(self, key).isprintable() or len(getattr(self, key)) > 200:
                raise ValueError(f"`{key}` must be up to 200 printable characters")
        for excluded in self.exclude_domains:
            if not is_domain(excluded):
                raise ValueError(f"`exclude_domains` holds {excluded!r}, which is no domain name in lower case")
        if self.rows_max < 1:
            raise ValueError("`rows_max` must be at least 1")
        if self.day_bytes_max < _ROW_BYTES_MIN:
            raise ValueError(f"`day_bytes_max` must be at least {_ROW_BYTES_MIN}")
        if not 1 <= self.keep_days <= 90:
            raise ValueError("`keep_days` must be between 1 and 90")

    @property
    def contact(self) -> str:
        """The address that reports come from."""
        return self.email or f"postmaster@{self.domain}"
