"""A real systemd, without a machine booted by it: a user instance in namespaces of its own.

It needs root, cgroup v2 mounted somewhere, and systemd's files; it touches nothing outside its namespaces but one
cgroup, which is removed again. Network is shared, so that tests reach the ports of its units.
"""

import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

SYSTEMD = Path("/lib/systemd/systemd")
# Own /run and cgroup root; the manager ends with this shell, whose standard input is the test.
INSIDE = """
mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run && mkdir -p /run/systemd/system || exit 3
export XDG_RUNTIME_DIR="$1/runtime" HOME="$1/home"
unset DBUS_SESSION_BUS_ADDRESS NOTIFY_SOCKET
/lib/systemd/systemd --user --unit=basic.target --log-target=console </dev/null >"$1/systemd.log" 2>&1 &
for _ in $(seq 100); do systemctl --user -q is-active basic.target 2>/dev/null && break; sleep 0.05; done
while read -r command; do
    timeout 60 systemctl --user $command </dev/null >"$1/answer.partial" 2>&1
    echo "exit $?" >>"$1/answer.partial"
    echo
done
"""
OUTSIDE = """
echo $$ >"$2/cgroup.procs"
exec unshare --fork --pid --mount --cgroup --mount-proc --kill-child bash -c "$3" - "$1"
"""


def cgroup_root() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


def why_not() -> str:
    """Why there can be none here, or empty."""
    if os.geteuid() != 0:
        return "needs root"
    if not SYSTEMD.exists() or not shutil.which("systemctl") or not shutil.which("unshare"):
        return "systemd is not installed"
    return "" if cgroup_root() else "no cgroup v2"


class Systemd:
    """Context manager: a user instance that knows the unit files in `dir`/units."""

    def __init__(self, place: Path, units: dict[str, str]) -> None:
        self.dir = place / "systemd"
        root = cgroup_root()
        assert root is not None
        self._cgroup = root / f"tamis-{uuid.uuid4().hex[:8]}"
        home = self.dir / "home" / ".config" / "systemd" / "user"
        home.mkdir(parents=True)
        (self.dir / "runtime").mkdir(mode=0o700)
        for name, text in units.items():
            (home / name).write_text(text)

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        self._shell = subprocess.Popen(
            ["bash", "-c", OUTSIDE, "-", str(self.dir), str(self._cgroup), INSIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shell.kill()
        self._shell.communicate()
        deadline_s = time.monotonic() + 10
        while (self._cgroup / "cgroup.events").read_text().splitlines()[0] != "populated 0":
            assert time.monotonic() < deadline_s, "processes of the test's systemd are still there"
            time.sleep(0.01)
        for cgroup in sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True):
            cgroup.rmdir()
        self._cgroup.rmdir()

    def systemctl(self, command: str) -> str:
        """What it printed. Raises AssertionError when it failed."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(command + "\n")
        self._shell.stdin.flush()
        assert self._shell.stdout.readline(), self.log
        *answer, status = (self.dir / "answer.partial").read_text().splitlines()
        text = "\n".join(answer)
        assert status == "exit 0", f"systemctl {command}: {text}\n{self.log}"
        return text

    @property
    def log(self) -> str:
        """Of the manager and its units."""
        path = self.dir / "systemd.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""
