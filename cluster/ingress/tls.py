"""The ingress's side of mutual TLS: gRPC asks at each handshake, so that rotated files are taken without a restart.

Strategy: a handshake costs one `stat` a file. Files that changed are read and checked whole; while they do not fit each
other, as in the middle of a rotation, the last good ones stay in force, and the reason is told once.
"""

import logging
import threading

import grpc

from wire.tls import Credentials, TlsConfig, TlsError, fingerprint, read_credentials

log = logging.getLogger(__name__)


def server_credentials(config: TlsConfig) -> grpc.ServerCredentials:
    """Credentials that follow the files; a client without a certificate of the authority is refused.

    Raises TlsError.
    """
    rotation = Rotation(config)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(rotation.current), rotation.fetch, require_client_authentication=True
    )


class Rotation:
    """What is in force, and whether the files say something else by now. gRPC calls it from threads of its own."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._seen = fingerprint(config)
        self.current = read_credentials(config)

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The configuration from now on; None: as before."""
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
            return _configuration(fresh)


def _configuration(files: Credentials) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authority)
