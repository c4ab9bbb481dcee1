import re
from pathlib import Path

import pytest

from cluster.ray_config import (
    GcsStorage,
    Ports,
    RayConfig,
    cell_tls,
    check_guarded,
    gcs_storage,
    ports,
    ray_environment,
    tls_of_node,
)
from wire.tls import TlsConfig

TLS = TlsConfig(certificate="/c.pem", key="/k.pem", authority="/a.pem")
OTHER = TlsConfig(certificate="/c2.pem", key="/k2.pem", authority="/a2.pem")


def test_on_loopback_any_free_port_will_do() -> None:
    assert ports(RayConfig()) == Ports(0, 0, None)
    assert [ports(RayConfig()).at(place) for place in range(6)] == [0] * 6


def test_off_loopback_the_ports_are_those_of_the_table() -> None:
    found = ports(RayConfig(node_address="10.1.0.5"))
    assert found == Ports(6380, 6400, (20000, 20999))
    assert [found.at(place) for place in range(6)] == [6400, 6401, 6402, 6403, 6404, 6405]


def test_ports_that_are_set_hold_on_loopback_too() -> None:
    config = RayConfig(gcs_port=7000, first_port=7100, worker_ports="30000-30009")
    assert ports(config) == Ports(7000, 7100, (30000, 30009))


@pytest.mark.parametrize("text", ["20000", "20000-", "9-20", "30000-20000", "20000-65536", "a-b"])
def test_a_range_of_ports_is_two_ports(text: str) -> None:
    with pytest.raises(ValueError, match="`worker_ports`"):
        RayConfig(worker_ports=text)


@pytest.mark.parametrize("address", ["", "localhost", "0.0.0.0", "::", "10.1.0.5:6380"])
def test_a_node_has_one_ip_address(address: str) -> None:
    with pytest.raises(ValueError, match="`node_address`"):
        RayConfig(node_address=address)


@pytest.mark.parametrize(
    ("token_file", "tls", "missing"),
    [("", TlsConfig(), "`token_file` and [ray.tls]"), ("/t", TlsConfig(), "[ray.tls]"), ("", TLS, "`token_file`")],
)
def test_off_loopback_a_node_without_token_and_certificates_is_refused(
    token_file: str, tls: TlsConfig, missing: str
) -> None:
    config = RayConfig(node_address="10.1.0.5", token_file=token_file)
    complaint = f"[ray] node_address 10.1.0.5 is not on loopback: that needs {missing}"
    with pytest.raises(ValueError, match=re.escape(complaint)):
        check_guarded(config, tls)


def test_with_both_it_is_taken_and_loopback_needs_neither() -> None:
    check_guarded(RayConfig(node_address="10.1.0.5", token_file="/t"), TLS)
    check_guarded(RayConfig(node_address="127.0.0.2"), TlsConfig())


def test_certificates_between_nodes_are_those_of_the_cluster_unless_ray_has_its_own() -> None:
    assert cell_tls(RayConfig(), TLS) == TLS
    assert cell_tls(RayConfig(tls=OTHER), TLS) == OTHER


@pytest.mark.parametrize(
    ("url", "storage"),
    [
        ("redis://10.1.0.9", GcsStorage("10.1.0.9:6379", "", "")),
        ("redis://:p%40ss@redis.example:7000/0", GcsStorage("redis.example:7000", "", "p@ss")),
        ("rediss://ray:secret@[2001:db8::1]:6380", GcsStorage("rediss://[2001:db8::1]:6380", "ray", "secret")),
    ],
)
def test_the_redis_of_the_gcs_is_taken_apart(url: str, storage: GcsStorage) -> None:
    assert gcs_storage(url) == storage


@pytest.mark.parametrize("url", ["redis", "unix:///run/redis.sock", "redis://:hush@host:x", "redis://:hush@host/3"])
def test_a_redis_that_ray_cannot_use_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="`gcs_redis`") as caught:
        RayConfig(gcs_redis=url)
    assert "hush" not in str(caught.value)


def test_a_process_of_the_cell_finds_the_certificates_of_its_node_in_its_environment() -> None:
    config = RayConfig(node_address="10.1.0.5", token_file="/t")
    environment = ray_environment(config, TLS, Path("/t"))
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USE_TLS"] == "1"
    assert tls_of_node(environment) == TLS
    assert not tls_of_node(ray_environment(RayConfig(), TLS, Path("/t"))).configured


def test_the_redis_password_is_in_no_environment() -> None:
    environment = ray_environment(RayConfig(gcs_redis="redis://:hush@h"), TlsConfig(), Path("/t"))
    assert environment["RAY_external_storage_namespace"] == "tamis"
    assert not any("hush" in value for value in environment.values())
