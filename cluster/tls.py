"""The cell's side of mutual TLS, for gRPC and for plain connections, with files that may be replaced at any time.

Strategy: every handshake asks for the files in force, which costs one `stat` a file. Files that changed are read and
checked whole; while they do not fit each other, as in the middle of a rotation, the last good ones stay, and the reason
is told once. Both ends show a certificate of the authority.
"""

import logging
import ssl
import threading

import grpc

from wire.tls import Credentials, TlsConfig, TlsError, fingerprint, read_credentials

log = logging.getLogger(__name__)


def server_credentials(config: TlsConfig) -> grpc.ServerCredentials:
    """gRPC's, which follow the files; a client without a certificate of the authority is refused. Raises TlsError."""
    rotation = Rotation(config)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        fresh = rotation.fetch()
        return _configuration(fresh) if fresh is not None else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(rotation.current), fetch, require_client_authentication=True
    )


class Rotation:
    """What is in force, and whether the files say something else by now. gRPC calls it from threads of its own."""

    def __init__(self, config: TlsConfig) -> None:
        """Raises TlsError."""
        self._config = config
        self._lock = threading.Lock()
        self._seen = fingerprint(config)
        self.current = read_credentials(config)

    def fetch(self) -> Credentials | None:
        """The files from now on; None: as before."""
        with self._lock:
            seen = fingerprint(self._config)
            if seen == self._seen:
                return None
            try:
                fresh = read_credentials(self._config)
            except TlsError as error:
                log.warning("tls_files_refused why=%s", error)
                self._seen = seen
                return None
            self._seen = seen
            if fresh == self.current:
                return None
            self.current = fresh
            log.info("tls_files_taken certificate=%s", self._config.certificate)
            return fresh


class StreamTls:
    """asyncio's contexts for the streams between the nodes of a cell. Both ends are of one release: TLS 1.3 alone."""

    def __init__(self, config: TlsConfig) -> None:
        """Raises TlsError."""
        self._config = config
        self._rotation = Rotation(config)
        self._contexts = self._made()

    @property
    def server(self) -> ssl.SSLContext:
        """For who is dialled: takes nobody without a certificate of the authority."""
        return self._fresh()[0]

    @property
    def client(self) -> ssl.SSLContext:
        """For who dials: the other end must be who was dialled."""
        return self._fresh()[1]

    def _fresh(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        if self._rotation.fetch() is not None:
            self._contexts = self._made()
        return self._contexts

    def _made(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.verify_mode = ssl.CERT_REQUIRED
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(self._config.certificate, self._config.key, password="")
            context.load_verify_locations(self._config.authority)
        return server, client


def _configuration(files: Credentials) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authority)
