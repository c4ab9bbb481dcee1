import pytest

from cluster.config import ClusterConfig, listen_address
from wire.config import ConfigError, Section, parse
from wire.tls import TlsConfig


class Root(Section, frozen=True):
    cluster: ClusterConfig = ClusterConfig()


def test_the_defaults_are_one_replica_of_each_actor_on_loopback() -> None:
    config = ClusterConfig()
    assert config.pools.sizes == {"dkim": 1, "policy": 1, "classifier": 1, "antivirus": 1}
    assert listen_address(config.listen) == ("127.0.0.1", 11333)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('listen = "0.0.0.0:11333"', "0.0.0.0:11333 is not on loopback: that needs [cluster.tls]"),
        ('admin = {listen = "10.0.0.1:11335"}', "`admin.listen` 10.0.0.1:11335 is not on loopback: that needs"),
        ('admin = {listen = "here"}', "must be an IP address and a port"),
        ('tls = {certificate = "c"}', "`certificate`, `key` and `authority` belong together"),
        ('listen = "localhost:1"', "must be an IP address and a port"),
        ('listen = "127.0.0.1"', "must be an IP address and a port"),
        ('listen = "127.0.0.1:65536"', "must be an IP address and a port"),
        ('listen = "127.0.0.1:²"', "must be an IP address and a port"),
        ("pools = {dkim = -1}", "`dkim` must be between 0 and 1024"),
        ("pools = {spam = 1}", "unknown key `spam`"),
        ("ingresses = 0", "`ingresses` must be between 1 and 64"),
        ("end_of_message_s = 0", "`end_of_message_s` must be above 0"),
        ("object_store_mb = 10", "`object_store_mb` must be at least 80"),
        ('stress_skips = ["antivirus"]', "`stress_skips`: 'antivirus' is none of dkim, policy, classifier"),
        ('stress_skips = ["gossip"]', "`stress_skips`: 'gossip' is none of"),
        ("transactions_max = 0", "`transactions_max` must be at least 1"),
        ("message_bytes_max = 170_000_000", "must fit a frame of 160 MiB"),
        ("poolz = 1", "unknown key `poolz`"),
        (
            'mirror = {to = "10.0.0.1:1", report_dir = "/r"}',
            "10.0.0.1:1 is not on loopback: that needs [cluster.mirror.tls]",
        ),
        ('mirror = {to = "127.0.0.1", report_dir = "/r"}', "`to` must be host:port, not '127.0.0.1'"),
        ('mirror = {to = "127.0.0.1:1"}', "`to` needs a `report_dir`"),
        ("mirror = {share = 1.5}", "`share` must be between 0 and 1"),
        ("mirror = {deadline_s = 0}", "`deadline_s` must be above 0"),
        ("mirror = {copies_max = 0}", "`copies_max` must be at least 1"),
        ("mirror = {report_bytes_max = 1}", "`report_bytes_max` must be at least 100000"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_place(line: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[cluster]\n{line}\n", Root, "tamis.toml")
    text = str(caught.value)
    assert complaint in text
    assert text.startswith("tamis.toml:")
    assert "\n" not in text


@pytest.mark.parametrize("listen", ["[::1]:0", "127.0.0.2:5"])
def test_any_loopback_address_will_do_and_any_at_all_with_tls(listen: str) -> None:
    assert ClusterConfig(listen=listen)
    files = TlsConfig(certificate="c", key="k", authority="a")
    assert listen_address(ClusterConfig(listen="0.0.0.0:5", tls=files).listen) == ("0.0.0.0", 5)
