"""docs/logs.md against the source of the supervisor."""

import ast
from pathlib import Path

SUPERVISOR = Path(__file__).resolve().parents[3] / "cluster" / "supervisor"
PAGE = SUPERVISOR.parents[1] / "docs" / "logs.md"
LEVELS = ("info", "warning", "error")


def test_every_event_is_on_the_page_with_its_level_and_fields_and_no_other() -> None:
    found = {}
    for path in sorted(SUPERVISOR.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                (line,) = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
                event, *fields = line.split()
                found[event] = (node.func.attr, [field.partition("=")[0] for field in fields])
    part = PAGE.read_text().partition("## What the supervisor logs")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("| `")]
    told = {}
    for events, level, fields, _ in rows:
        for event in events.split(", "):
            told[event.strip("`")] = (level, fields.split(", ") if fields else [])
    assert told == found
