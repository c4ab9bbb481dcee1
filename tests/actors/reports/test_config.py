import pytest

from actors.reports.config import DmarcReportConfig


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
        ({"rows_max": 0}, "`rows_max`"),
        ({"day_bytes_max": 1000}, "`day_bytes_max`"),
        ({"keep_days": 0}, "`keep_days`"),
        ({"keep_days": 91}, "`keep_days`"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DmarcReportConfig(**wrong)  # type: ignore[arg-type]


def test_without_an_address_it_is_the_postmasters() -> None:
    assert DmarcReportConfig(domain="mx.example").contact == "postmaster@mx.example"
    assert DmarcReportConfig(domain="mx.example", email="d@example.org").contact == "d@example.org"
