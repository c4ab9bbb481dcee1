import pytest

from actors.reports.config import DmarcReportConfig, read_server


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"domain": "MX.example"}, "`domain`"),
        ({"domain": "a/b"}, "`domain`"),
        ({"email": "x@a.example\r\nBcc: y"}, "`email`"),
        ({"email": "nobody"}, "`email`"),
        ({"org_name": "a\nb"}, "`org_name`"),
        ({"extra_contact_info": "x" * 201}, "`extra_contact_info`"),
        ({"exclude_domains": ("a.example", "B")}, "'B'"),
        ({"exclude_addresses": ("a@b.example", "b.example")}, "'b.example'"),
        ({"destinations": {"B.example": ("a@b.example",)}}, "'B.example'"),
        ({"destinations": {"b.example": ("a@b.example", "mailto:x")}}, "'mailto:x'"),
        ({"smtp": "host:port"}, "`smtp`"),
        ({"smtp": ":25"}, "`smtp`"),
        ({"cell": "a-1"}, "`cell`"),
        ({"cell": "ä"}, "`cell`"),
        ({"cell": "a" * 33}, "`cell`"),
        ({"smtp": "host:0"}, "`smtp`"),
        ({"mail_bytes_max": 1000}, "`mail_bytes_max`"),
        ({"rows_max": 0}, "`rows_max`"),
        ({"day_bytes_max": 1000}, "`day_bytes_max`"),
        ({"keep_days": 0}, "`keep_days`"),
        ({"keep_days": 91}, "`keep_days`"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DmarcReportConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("mail.example", ("mail.example", 25)),
        ("mail.example:2525", ("mail.example", 2525)),
        ("192.0.2.1:26", ("192.0.2.1", 26)),
        ("[2001:db8::1]:26", ("2001:db8::1", 26)),
        ("[2001:db8::1]", ("2001:db8::1", 25)),
    ],
)
def test_a_server_is_a_host_and_perhaps_a_port(text: str, server: tuple[str, int]) -> None:
    assert DmarcReportConfig(smtp=text).smtp == text
    assert read_server(text) == server


def test_excluded_is_a_domain_with_its_subdomains() -> None:
    config = DmarcReportConfig(exclude_domains=("a.example", "b.example"))
    excluded = [
        name for name in ("a.example", "x.b.example", "xa.example", "example", "c.example") if config.excludes(name)
    ]
    assert excluded == ["a.example", "x.b.example"]


def test_without_an_address_it_is_the_postmasters() -> None:
    assert DmarcReportConfig(domain="mx.example").contact == "postmaster@mx.example"
    assert DmarcReportConfig(domain="mx.example", email="d@example.org").contact == "d@example.org"
