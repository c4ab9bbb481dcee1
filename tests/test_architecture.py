"""Who may import whom (docs/flow.md, CONTRIBUTING): read from the imports themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
OURS = {"gateway", "actors", "cluster", "wire", "cli", "console", "tamis"}
MAY_IMPORT = {
    "wire": {"wire", "tamis"},
    "gateway": {"gateway", "wire", "tamis"},
    "actors": {"actors", "wire"},
    "cluster": {"cluster", "actors", "wire", "tamis"},
    "cli": OURS,
    "console": {"console", "wire", "tamis"},
}
ONLY_IN = {
    "ray": {"cluster"},
    "grpc": {"gateway", "cluster", "cli", "console"},
    "redis": {"actors", "console", "cli"},
    "numpy": {"actors", "cluster"},
    "opentelemetry": {"wire"},
    "typer": {"cli"},
    "rich": {"cli"},
}
THIRD_PARTY = {
    "wire": {"msgspec", "opentelemetry"},
    "gateway": {"dns", "grpc", "msgspec", "prometheus_client", "uvloop"},
}
FORBIDDEN_AT_THE_GATEWAY = {"ray", "numpy", "redis", "actors", "cluster"}


def imports_of(source: str) -> set[str]:
    """Roots of all absolute imports, those inside functions included."""
    roots: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.split(".")[0])
    return roots


def violations(folder: str, roots: set[str]) -> set[str]:
    """What this folder imports and may not."""
    wrong = (roots & OURS) - MAY_IMPORT[folder]
    wrong |= {name for name, folders in ONLY_IN.items() if name in roots and folder not in folders}
    if folder in THIRD_PARTY:
        wrong |= roots - OURS - THIRD_PARTY[folder] - set(sys.stdlib_module_names)
    return wrong


SOURCES = [path for folder in MAY_IMPORT for path in sorted((PROJECT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_folder_imports_only_what_the_architecture_allows(path: Path) -> None:
    folder = path.relative_to(PROJECT).parts[0]
    assert not violations(folder, imports_of(path.read_text()))


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("gateway", "import ray"),
        ("gateway", "def f():\n    from actors.model import Message"),
        ("actors", "from gateway import session"),
        ("actors", "import grpc"),
        ("cluster", "import gateway.server"),
        ("wire", "import requests"),
    ],
)
def test_a_forbidden_import_is_found(folder: str, source: str) -> None:
    assert violations(folder, imports_of(source))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_modules_stay_under_400_lines_and_functions_on_a_screen(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") < 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_proto_and_tests_are_no_packages() -> None:
    assert not list((PROJECT / "proto").rglob("__init__.py"))
    assert not list((PROJECT / "tests").rglob("__init__.py"))


@pytest.mark.live
def test_importing_the_gateway_loads_neither_ray_nor_numpy_nor_redis_nor_the_judgement() -> None:
    code = "import gateway.server, gateway.__main__, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "gateway" in loaded
    assert not loaded & (FORBIDDEN_AT_THE_GATEWAY | {"dns"}), "dnspython is for gateways that look names up"


@pytest.mark.live
def test_the_help_and_send_commands_load_neither_ray_nor_numpy() -> None:
    code = "import cli.__main__, cli.send, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert not loaded & FORBIDDEN_AT_THE_GATEWAY
