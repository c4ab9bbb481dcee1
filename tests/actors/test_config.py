"""actors/config.py: what an operator cannot have meant is refused when the file is read."""

from pathlib import Path

import pytest

from cli.config import TamisConfig
from wire.config import ConfigError, load


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[trace]\notlp_endpoint = "garbage"', "`otlp_endpoint` must be host:port"),
        ('[headers]\ndegraded = ""', "`degraded` must not be empty"),
        ('[headers]\nscore = "X Spam"', "`score` must be a header field name"),
        ('[headers]\nauthserv_id = "a\\r\\nX: y"', "`authserv_id` must be printable ASCII without spaces"),
        (
            '[headers]\nremoved_authserv_ids = ["a", ""]',
            "`removed_authserv_ids` must hold printable ASCII without spaces",
        ),
        ('[dkim]\nunsigned_tail = "accept"', "`unsigned_tail` must be policy, fail or pass"),
        ('[policy.on_error]\ndkim = "shrug"', "`dkim` must be ignore, tempfail, quarantine or reject"),
        ('[policy.on_error]\nuninspected = "tempfail"', "`uninspected` must be ignore, quarantine or reject"),
        ('[policy.lists]\nallow_clients = ["10.0.0.0/33"]', "no IP address or network"),
        ("[policy]\nadd_header_score = 0.0", "`add_header_score` must be greater than 0"),
        ("[policy]\nclassifier_spam_probability = 1.0", "must be between 0 and 1"),
        ("[classifier]\nshadow_share = 1.5", "`shadow_share` must be between 0 and 1"),
        ("[policy]\nreject_score = -1.0", "`reject_score` must not be negative"),
        ("[dns]\ntimeout_s = -1.0", "`timeout_s` must be greater than 0"),
        ("[dns]\ntimeout_s = nan", "`timeout_s` must be greater than 0"),
        ("[dns]\ntimeout_s = inf", "`timeout_s` must be greater than 0 and at most 3600 seconds"),
        ("[dns]\ncache_entries = -1", "`cache_entries` must be at least 0"),
        ("[dns]\nnegative_ttl_s = -1", "`negative_ttl_s` must be at least 0"),
        ('[dns]\nnameservers = ["127.0.0.1", "not a host:99999"]', "`nameservers` holds 'not a host:99999'"),
        ('[dns]\nnameservers = ["ns.example:0"]', "`nameservers` holds"),
        ('[dns]\nnameservers = [""]', "`nameservers` holds"),
        ('[dns]\nnameservers = ["[::1"]', "`nameservers` holds"),
        ('[redis]\nurl = "garbage"', "`url` must be a redis://, rediss://, redis"),
        ('[redis]\nurl = "http://127.0.0.1"', "`url` must be"),
        ('[redis]\nurl = "redis://127.0.0.1:99999"', "`url` must be"),
        ('[redis]\nurl = "unix://"', "`url` must be"),
        ("[redis]\ntimeout_s = 0.0", "`timeout_s` must be greater than 0"),
        ("[dkim]\nsignatures_max = 0", "`signatures_max` must be at least 1"),
        ("[dkim]\nsignatures_max = 51", "`signatures_max` must be at most 50"),
        ("[dkim]\nkey_bits_min = 0", "`key_bits_min` must be at least 1024"),
        ("[dkim]\nclock_drift_s = -1", "`clock_drift_s` must be at least 0"),
        ('[antivirus]\nclamd = ["garbage"]', "`clamd` holds 'garbage'"),
        ('[antivirus]\nclamd = ["unix:"]', "`clamd` holds"),
        ('[antivirus]\nclamd = ["host:port"]', "`clamd` holds"),
        ("[antivirus]\nclamd_timeout_s = -5.0", "`clamd_timeout_s` must be greater than 0"),
        ("[antivirus]\nyara_timeout_s = 0.0", "`yara_timeout_s` must be greater than 0"),
        ("[antivirus]\nclamd_stream_bytes_max = 0", "`clamd_stream_bytes_max` must be at least 1"),
        (f'[headers]\nflag = "{"X" * 101}"', "`flag` must not be longer than 100 characters"),
        ("[policy.spf_points]\nfail = inf", "points and scores must be numbers"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "tamis.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(path, TamisConfig)


@pytest.mark.parametrize(
    "text",
    [
        '[dns]\nnameservers = ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]", "[::1]:53", "ns_1.example:53", "dns"]',
        "[dns]\ncache_entries = 0\nnegative_ttl_s = 0",
        '[redis]\nurl = "rediss://user:hush@redis.example:6379/0"',
        '[redis]\nurl = "unix:///run/redis.sock?db=1"',
        '[redis]\nurl = ""',
        '[antivirus]\nclamd = ["unix:/run/clamav/clamd.ctl", "clamd:3310", "[::1]:3310", "192.0.2.1:3310"]',
    ],
)
def test_every_documented_form_is_taken(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tamis.toml"
    path.write_text(text)
    load(path, TamisConfig)


def test_a_refused_redis_url_does_not_show_its_password(tmp_path: Path) -> None:
    path = tmp_path / "tamis.toml"
    path.write_text('[redis]\nurl = "http://user:hush@redis.example"')
    with pytest.raises(ConfigError) as refused:
        load(path, TamisConfig)
    assert "hush" not in str(refused.value)
