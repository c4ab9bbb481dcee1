import msgspec
import pytest

from actors.config import ClassifierConfig, JudgementConfig, RedisConfig
from cluster.admin.control import Settings
from cluster.admin.reload import plan_reload
from cluster.config import AdminConfig, ClusterConfig, Pools
from wire.config import ConfigError
from wire.trace import TraceConfig

RUNNING = Settings(
    ClusterConfig(listen="127.0.0.1:40001", admin=AdminConfig(listen="127.0.0.1:40002", tokens="/run/tokens")),
    JudgementConfig(redis=RedisConfig(url="unix:///run/valkey.sock")),
    TraceConfig(),
)
FILE = b'[cluster]\nlisten = "127.0.0.1:0"\n[cluster.admin]\nlisten = "127.0.0.1:0"\n'


def test_the_file_that_runs_changes_nothing() -> None:
    plan = plan_reload(FILE, "why", RUNNING)
    assert plan.change is None
    assert plan.needs_restart == ()


def test_a_new_judgement_is_a_change_and_keeps_the_valkey_of_tamis_up() -> None:
    plan = plan_reload(FILE + b"[classifier]\nmodel = '/new'\n", "a new model", RUNNING)
    assert plan.change is not None
    assert plan.change.why == "a new model"
    assert plan.change.pools is None
    assert plan.change.judgement == msgspec.structs.replace(
        RUNNING.judgement, classifier=ClassifierConfig(model="/new")
    )


def test_the_sizes_of_pools_are_a_change_of_their_own() -> None:
    plan = plan_reload(FILE + b"[cluster.pools]\npolicy = 3\n", "", RUNNING)
    assert plan.change is not None
    assert plan.change.judgement is None
    assert plan.change.pools == Pools(policy=3)
    assert not plan.change.replaces
    assert plan.needs_restart == ()


def test_settings_of_the_processes_are_a_change_with_the_addresses_and_pools_that_run() -> None:
    text = (
        FILE.replace(b"[cluster.admin]", b"replica_running_max = 7\n[cluster.admin]") + b"[cluster.pools]\npolicy = 3\n"
    )
    plan = plan_reload(text, "", RUNNING)
    assert plan.change is not None
    assert plan.change.replaces
    assert plan.change.cluster == msgspec.structs.replace(RUNNING.cluster, replica_running_max=7)
    assert plan.change.pools == Pools(policy=3)
    assert plan.change.judgement is None
    assert plan.needs_restart == ()


def test_what_holds_only_from_the_next_start_on_is_named() -> None:
    text = b"""[cluster]
listen = "127.0.0.1:5"
shared_port = true
tls = {certificate = "c", key = "k", authority = "a"}
[trace]
slow_ms = 5
[gateway]
log_level = "debug"
"""
    plan = plan_reload(text, "", RUNNING)
    assert plan.change is None
    assert set(plan.needs_restart) == {
        "[cluster] listen",
        "[cluster] shared_port",
        "[cluster.tls] certificate",
        "[cluster.tls] key",
        "[cluster.tls] authority",
        "[cluster.admin] listen",
        "[trace] slow_ms",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[classifier]\nmodle = ''\n", "config:2: unknown key `modle`"),
        (b"[cluster\n", "not valid TOML"),
        (b"[dns]\ntimeout_s = 0\n", "config:1: `timeout_s` must be greater than 0"),
        (b"[dnz]\n", "config:1: unknown section [dnz]"),
        (b"[dns]\n# \xff\n", "config:2: not UTF-8"),
        (b"#" * (1024 * 1024 + 1), "above 1048576 bytes"),
    ],
)
def test_a_mistake_is_one_line_with_line_and_reason(content: bytes, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_reload(content, "", RUNNING)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
