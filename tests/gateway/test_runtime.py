from gateway.config import GatewayConfig, GatewayRoot
from gateway.runtime import needs_restart
from wire.config import version_of
from wire.trace import TraceConfig


def test_what_a_reload_cannot_change_is_named() -> None:
    before = GatewayRoot()
    after = GatewayRoot(
        gateway=GatewayConfig(listen=("inet:1@127.0.0.1",), ops_listen="", sessions_max=5, reuse_port=True),
        trace=TraceConfig(otlp_endpoint="http://127.0.0.1:4317", slow_ms=5),
    )
    assert needs_restart(before, after) == ["gateway.listen", "gateway.ops_listen", "gateway.reuse_port", "trace"]
    assert needs_restart(before, GatewayRoot(trace=TraceConfig(slow_ms=5, sample_ratio=0.5))) == []


def test_the_version_of_a_config_follows_its_content() -> None:
    assert version_of(GatewayRoot()) == version_of(GatewayRoot(gateway=GatewayConfig(drain_s=30.0)))
    assert version_of(GatewayRoot()) != version_of(GatewayRoot(gateway=GatewayConfig(drain_s=31.0)))
