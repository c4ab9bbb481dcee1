"""A gRPC channel to an ingress, as the gateway of this machine would open one."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from gateway.cells import SRV, parse_host_port
from gateway.config import GatewayConfig
from wire.config import ConfigError
from wire.stream import CHANNEL_OPTIONS
from wire.tls import TlsConfig, TlsError, on_loopback, read_credentials

if TYPE_CHECKING:
    import grpc


def first_ingress(config: GatewayConfig) -> str:
    """host:port of the first ingress that the gateway's settings list. Raises ConfigError."""
    for cell in config.all_cells:
        for address in cell.ingress:
            if not address.startswith(SRV):
                return address
    raise ConfigError("[gateway]: every `ingress` is an srv: name; say which one by host:port")


def channel_credentials(address: str, tls: TlsConfig) -> "grpc.ChannelCredentials | None":
    """Those of [gateway.tls]; None = plaintext, which is for loopback alone. Raises ConfigError."""
    import grpc

    if tls.configured:
        try:
            files = read_credentials(tls)
        except TlsError as error:
            raise ConfigError(f"[gateway.tls]: {error}") from error
        return grpc.ssl_channel_credentials(files.authority, files.key, files.certificate)
    try:
        host, _ = parse_host_port(address)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not on_loopback(host):
        raise ConfigError(f"{address} is not on loopback: that needs [gateway.tls]")
    return None


def open_channel(kind: ModuleType, address: str, credentials: "grpc.ChannelCredentials | None") -> Any:
    """A channel of `grpc` or `grpc.aio` to host:port; None = plaintext."""
    if credentials is None:
        return kind.insecure_channel(address, options=CHANNEL_OPTIONS)
    return kind.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
