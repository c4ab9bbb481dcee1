"""The whole configuration file as the command sees it; each section's schema lives with the code that uses it."""

from pathlib import Path

import msgspec

from actors.config import (
    AntivirusConfig,
    ClassifierConfig,
    DkimConfig,
    DnsConfig,
    HeadersConfig,
    JudgementConfig,
    PolicyConfig,
    RedisConfig,
)
from actors.reports.config import DmarcReportConfig
from cluster.config import ClusterConfig
from cluster.ray_config import RayConfig
from gateway.config import GatewayConfig
from wire import config
from wire.config import ConfigError, Section
from wire.trace import TraceConfig


class TamisConfig(Section, frozen=True):
    """One file for every process; docs/configuration.md explains each key."""

    gateway: GatewayConfig = GatewayConfig()
    cluster: ClusterConfig = ClusterConfig()
    ray: RayConfig = RayConfig()
    dns: DnsConfig = DnsConfig()
    redis: RedisConfig = RedisConfig()
    dkim: DkimConfig = DkimConfig()
    policy: PolicyConfig = PolicyConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    antivirus: AntivirusConfig = AntivirusConfig()
    headers: HeadersConfig = HeadersConfig()
    dmarc_report: DmarcReportConfig = DmarcReportConfig()
    trace: TraceConfig = TraceConfig()

    def judgement(self) -> JudgementConfig:
        """The part that actors and `decide` need."""
        return JudgementConfig(
            dns=self.dns,
            redis=self.redis,
            dkim=self.dkim,
            policy=self.policy,
            classifier=self.classifier,
            antivirus=self.antivirus,
            headers=self.headers,
            dmarc_report=self.dmarc_report,
        )


def load_config(path: Path | None) -> TamisConfig:
    """The file's settings, or the defaults without a file. Raises ConfigError."""
    return config.load(path, TamisConfig) if path is not None else config.defaults(TamisConfig)


def load_config_with_redis(path: Path | None, run_dir: Path) -> TamisConfig:
    """The same with a Redis: that of the file, or the one that `tamis up` has started there. Raises ConfigError."""
    settings = load_config(path)
    if settings.redis.url:
        return settings
    socket = (run_dir / "valkey" / "valkey.sock").absolute()
    if not socket.exists():
        raise ConfigError("[redis] url is empty, and no `tamis up` runs in --run-dir: there is no shared state")
    return msgspec.structs.replace(settings, redis=msgspec.structs.replace(settings.redis, url=f"unix://{socket}"))
