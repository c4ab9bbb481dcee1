"""A Ray of one node in this process, for tests and benchmarks of the cell without `tamis up`."""

from pathlib import Path

from cli.run_dir import fresh_token
from cluster.node import Node, take_environment
from cluster.ray_config import RayConfig, ray_environment
from wire.tls import TlsConfig

_token = ""
"""Ray reads it once in the life of a process."""


def start_ray(node: Node, directory: Path, object_store_mb: int = 100) -> None:
    """Start it with its files in the directory, whose path is short; `node.stop` ends it. Raises RayFailed."""
    global _token  # noqa: PLW0603
    token = fresh_token(directory)
    _token = _token or token.read_text()
    token.write_text(_token)
    take_environment(ray_environment(RayConfig(), TlsConfig(), token))
    node.start(RayConfig(), object_store_mb, directory / "ray")
