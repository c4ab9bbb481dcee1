"""Direction of a transaction and tenant of its parties, from what the MTA's macros say. Pure.

Inbound mail belongs to the tenant of each recipient (longest matching domain); outbound mail belongs to the tenant
of the authenticated user, or of the daemon that took it. "" is the default tenant.
"""

from collections.abc import Collection, Mapping

from tamis.filter.v1 import message_pb2


def direction(
    auth_user: bytes, daemon_name: str, client_ip: str, outbound_daemons: Collection[str]
) -> message_pb2.Direction:
    """Outbound = an authenticated user or an outbound daemon; internal = handed in locally, without a network client.

    Loopback clients are inbound like any other: a relay or a test in front of us speaks from there.
    """
    if auth_user or daemon_name in outbound_daemons:
        return message_pb2.DIRECTION_OUTBOUND
    return message_pb2.DIRECTION_INBOUND if client_ip else message_pb2.DIRECTION_INTERNAL


def tenant_of_address(address: bytes, tenants: Mapping[str, str]) -> str:
    """The tenant whose domain is the longest that equals or ends the address's domain; "" when none does.

    `tenants` maps lower-case domains to tenants; "mail.example.org" matches an entry "example.org".
    """
    if not tenants:
        return ""
    _, at, domain_bytes = address.rpartition(b"@")
    domain = domain_bytes.decode("utf-8", "replace").lower().rstrip(".") if at else ""
    while domain:
        if domain in tenants:
            return tenants[domain]
        domain = domain.partition(".")[2]
    return ""


def tenant_of_sender(
    auth_user: bytes, daemon_name: str, tenants: Mapping[str, str], daemon_tenants: Mapping[str, str]
) -> str:
    """The tenant of outbound mail: by the user's domain, else by the daemon; never by the claimed MAIL address."""
    return tenant_of_address(auth_user, tenants) or daemon_tenants.get(daemon_name, "")
