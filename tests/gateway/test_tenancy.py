import pytest

from gateway.tenancy import direction, tenant_of_address, tenant_of_sender
from tamis.filter.v1 import message_pb2

TENANTS = {"example.org": "acme", "mail.example.org": "acme-mail", "other.example": "other"}


@pytest.mark.parametrize(
    ("address", "tenant"),
    [
        (b"a@example.org", "acme"),
        (b"a@EXAMPLE.org", "acme"),
        (b"a@example.org.", "acme"),
        (b"a@deep.sub.example.org", "acme"),
        (b"a@mail.example.org", "acme-mail"),
        (b"a@x.mail.example.org", "acme-mail"),
        (b"a@notexample.org", ""),
        (b'"a@other.example"@unknown.example', ""),
        (b"postmaster", ""),
        (b"", ""),
        (b"a@\xff\xfe.example.org", "acme"),
    ],
)
def test_the_longest_matching_domain_names_the_tenant(address: bytes, tenant: str) -> None:
    assert tenant_of_address(address, TENANTS) == tenant


@pytest.mark.parametrize(
    ("auth_user", "daemon", "ip", "expected"),
    [
        (b"anna", "smtpd", "192.0.2.7", message_pb2.DIRECTION_OUTBOUND),
        (b"", "submission", "192.0.2.7", message_pb2.DIRECTION_OUTBOUND),
        (b"", "smtpd", "192.0.2.7", message_pb2.DIRECTION_INBOUND),
        (b"", "smtpd", "127.0.0.1", message_pb2.DIRECTION_INBOUND),
        (b"", "", "", message_pb2.DIRECTION_INTERNAL),
    ],
)
def test_direction_comes_from_the_user_the_daemon_and_the_client(
    auth_user: bytes, daemon: str, ip: str, expected: message_pb2.Direction
) -> None:
    assert direction(auth_user, daemon, ip, {"submission"}) == expected


def test_outbound_mail_belongs_to_the_user_then_to_the_daemon() -> None:
    daemons = {"submission": "fallback"}
    assert tenant_of_sender(b"anna@example.org", "submission", TENANTS, daemons) == "acme"
    assert tenant_of_sender(b"anna", "submission", TENANTS, daemons) == "fallback"
    assert tenant_of_sender(b"", "smtpd", TENANTS, daemons) == ""
