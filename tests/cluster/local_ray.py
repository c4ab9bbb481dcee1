"""A Ray of one node for tests in this process."""

import os
from pathlib import Path

from cli.run_dir import fresh_token
from cluster.node import Node
from cluster.ray_config import RayConfig, ray_environment
from wire.tls import TlsConfig

OBJECT_STORE_MB = 100


def start_ray(node: Node, directory: Path) -> None:
    """Start it; `node.stop` ends it. RAY_AUTH_MODE is set in tests/conftest.py, before Ray is imported."""
    os.environ.update(ray_environment(RayConfig(), TlsConfig(), fresh_token(directory)))
    node.start(RayConfig(), OBJECT_STORE_MB, directory / "ray")
