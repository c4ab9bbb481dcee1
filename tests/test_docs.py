"""What the pages name is there: files, and the tests that prove a row."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/authentication.md",
    "docs/campaigns.md",
    "docs/classifier.md",
    "docs/flow.md",
    "docs/operating.md",
    "docs/failures.md",
    "docs/learning.md",
    "docs/logs.md",
    "docs/python.md",
)
FOLDERS = ("actors", "bench", "cli", "cluster", "docs", "gateway", "proto", "tests", "wire")
FILES = [path.relative_to(PROJECT).as_posix() for folder in FOLDERS for path in (PROJECT / folder).rglob("*")]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = (PROJECT / page).read_text()
    named = set(re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|proto|md))`", text))
    if page == "docs/flow.md":
        named |= set(re.findall(r"`(\w+\.py)`", text))
    assert {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in FILES)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)[`\[]", (PROJECT / page).read_text()))
    tests = (path.read_text() for path in (PROJECT / "tests").rglob("*.py"))
    assert named - {name for text in tests for name in re.findall(r"def (test_\w+)\(", text)} == set()


def test_the_examples_of_the_python_page_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/python.md").read_text(), re.DOTALL)
    assert len(blocks) > 1
    page: dict[str, object] = {}
    for block in blocks:
        exec(block, page)  # noqa: S102  our own page
