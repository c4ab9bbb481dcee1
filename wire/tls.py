"""The files of mutual TLS, the same at both ends of a stream: own certificate and key, and the authority of the peer.

Strategy: files are read together and checked together, so that a key that does not fit its certificate is one clear
line here instead of a handshake that fails later. What a file holds is never part of a message. No gRPC here: who
serves or dials makes gRPC's credentials of the bytes.
"""

import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from wire.config import Section


class TlsError(Exception):
    """The files cannot be used; the text is one line for the operator."""


class TlsConfig(Section, frozen=True):
    """[gateway.tls], [cluster.tls], [ray.tls]: mutual TLS of streams, all three files or none.

    Between gateway and ingress; [ray.tls], or else [cluster.tls], between the nodes of a cell too.

    Without it streams stay on loopback; the other end is refused unless its certificate comes from `authority`.
    """

    certificate: str = ""
    """PEM file: the certificate shown to the other end, with its chain; names or addresses of an ingress in its SAN."""
    key: str = ""
    """PEM file: its private key, without a passphrase."""
    authority: str = ""
    """PEM file: the authorities that sign the certificates of the other end."""

    def __post_init__(self) -> None:
        if len({bool(self.certificate), bool(self.key), bool(self.authority)}) > 1:
            raise ValueError("`certificate`, `key` and `authority` belong together: all of them or none")

    @property
    def configured(self) -> bool:
        """Whether streams are encrypted."""
        return bool(self.certificate)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of the three files, in PEM."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    authority: bytes = field(repr=False)


def read_credentials(config: TlsConfig) -> Credentials:
    """Read and check the files of a configured section. Raises TlsError."""
    credentials = Credentials(
        _content("certificate", config.certificate),
        _content("key", config.key),
        _content("authority", config.authority),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        context.load_cert_chain(config.certificate, config.key, password="")
    except (OSError, ValueError) as error:
        # ssl.SSLError is an OSError.
        raise TlsError(f"tls: `certificate` {config.certificate} and `key` {config.key}: {_reason(error)}") from None
    try:
        context.load_verify_locations(config.authority)
    except (OSError, ValueError) as error:
        raise TlsError(f"tls: `authority` {config.authority}: {_reason(error)}") from None
    return credentials


def fingerprint(config: TlsConfig) -> tuple[tuple[int, int, int], ...]:
    """Changes when one of the files is replaced or written; a file that is not there counts too."""
    return tuple(_stamp(Path(path)) for path in (config.certificate, config.key, config.authority))


def on_loopback(host: str) -> bool:
    """Whether the host of an address is this machine for sure: plaintext may go there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _content(key: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsError(f"tls: `{key}` {path}: {error.strerror or error}") from None


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _reason(error: Exception) -> str:
    """OpenSSL's words without its brackets and the place in its source."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no usable PEM").replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or error)
