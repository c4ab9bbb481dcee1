"""What the link needs, made of the config: once at start, again at a reload."""

from gateway.cells import srv_names
from gateway.config import GatewayConfig
from gateway.conversation import Budgets
from gateway.dial import GrpcDialer
from gateway.discovery import Lookup, no_lookup
from gateway.link import LinkSettings
from wire.tls import read_credentials


def link_settings(config: GatewayConfig) -> LinkSettings:
    """The settings of the link. Raises TlsError, one line, when the files of [gateway.tls] cannot be used."""
    if config.tls.configured:
        # The dialer reads them again at each dial; what is wrong with them now should not be found out then.
        read_credentials(config.tls)
    budgets = Budgets(config.ingress_budget_s, config.early.budgets_s, config.end_of_message_budget_s)
    return LinkSettings(config.all_cells, budgets, GrpcDialer(config.tls, config.compression), _lookup(config))


def _lookup(config: GatewayConfig) -> Lookup:
    if not srv_names(config.all_cells):
        return no_lookup
    from gateway.srv import SrvLookup  # noqa: PLC0415 - 100 ms that most gateways save

    return SrvLookup(config.nameservers)
