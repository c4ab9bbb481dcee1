"""The settings of the mirror: section [cluster.mirror]."""

from wire.config import Section
from wire.tls import TlsConfig, on_loopback


class MirrorConfig(Section, frozen=True):
    """[cluster.mirror]: a share of the mail is judged by another cell as well, and the verdicts are compared.

    Only messages that got a verdict are mirrored, never the answers at CONNECT to RCPT.
    """

    to: tuple[str, ...] = ()
    """host:port of ingresses of the other cell, off loopback only with [cluster.mirror.tls]; empty = no mirror."""
    share: float = 0.1
    """Share of the messages, from 0 to 1; which ones follows from their transaction ids, the same at every ingress."""
    tls: TlsConfig = TlsConfig()
    deadline_s: float = 20.0
    """The other cell's time for a verdict; after it the copy counts as late."""
    copies_max: int = 1000
    """Copies under way per ingress; more are dropped and counted."""
    held_bytes_max: int = 64 * 1024 * 1024
    """Mail that copies under way hold in memory, per ingress; what does not fit is dropped and counted."""
    report_dir: str = ""
    """Directory for the report, INGRESS.jsonl and the one before, INGRESS.jsonl.1; `tamis mirror report` reads it."""
    report_bytes_max: int = 64 * 1024 * 1024
    """Size of both files of one ingress together; a message that is judged alike takes 250 bytes."""

    def __post_init__(self) -> None:
        for target in self.to:
            host, colon, port = target.rpartition(":")
            if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f"`to` must be host:port, not {target!r}")
            if not (self.tls.configured or on_loopback(host.removeprefix("[").removesuffix("]"))):
                raise ValueError(f"`to` {target} is not on loopback: that needs [cluster.mirror.tls]")
        if self.to and not self.report_dir:
            raise ValueError("`to` needs a `report_dir` for the report")
        if not 0 <= self.share <= 1:
            raise ValueError("`share` must be between 0 and 1")
        if not 0 < self.deadline_s <= 3600:
            raise ValueError("`deadline_s` must be above 0 and at most 3600")
        for key in ("copies_max", "held_bytes_max"):
            if getattr(self, key) < 1:
                raise ValueError(f"`{key}` must be at least 1")
        if self.report_bytes_max < 100_000:
            raise ValueError("`report_bytes_max` must be at least 100000")
