"""No change of the contract breaks a release before: `buf breaking` against the schema of each."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail

pytestmark = pytest.mark.live
HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"
RELEASES = sorted(path.parent.name for path in HERE.glob("*/schema.binpb"))


def complaints(proto: Path, release: str) -> str:
    buf = Path(sys.executable).parent / "buf"
    if not buf.exists():
        skip_or_fail("buf is not installed: pip install buf-bin")
    command = [buf, "breaking", proto, "--against", HERE / release / "schema.binpb", "--config", HERE / "buf.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


@pytest.mark.parametrize("release", RELEASES)
def test_the_contract_of_today_breaks_no_release(release: str) -> None:
    assert not complaints(PROTO, release)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("  uint32 budget_ms = 2;\n  // W3C", "  string budget_ms = 2;\n  // W3C", "changed type"),
        ("  bytes transaction_id = 1;", "  bytes transaction_id = 17;", '"1" with name "transaction_id"'),
        ("  repeated uint32 refused_recipients = 3;", "  uint32 refused_recipients = 3;", "changed cardinality"),
        ("  string mta_name = 8;\n", "", '"8" with name "mta_name"'),
        ("    REASON_DRAINING = 2;\n", "", '"2" on enum "Reason"'),
        ("  rpc Scan(ScanRequest) returns (ScanResponse);\n", "", 'RPC "Scan"'),
        ("  string mta_name = 8;\n", '  reserved 8;\n  reserved "mta_name";\n', ""),
        ("  string mta_name = 8;\n", "  string mta_name = 8;\n  string later = 99;\n", ""),
    ],
    ids=["type", "number", "label", "removed", "enum value", "rpc", "removed and reserved", "added"],
)
def test_what_would_break_a_release_is_found(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    proto = Path(shutil.copytree(PROTO, tmp_path / "proto", ignore=shutil.ignore_patterns("*.py", "*.pyi")))
    service = proto / "tamis" / "filter" / "v1" / "filter_service.proto"
    text = service.read_text()
    assert before in text
    service.write_text(text.replace(before, after, 1))
    found = complaints(proto, "0.1.0")
    assert complaint in found
    assert bool(found) == bool(complaint)
