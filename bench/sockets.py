"""Bytes that processes have on their TCP connections, by `ss` (Debian's iproute2)."""

import re
import subprocess
from collections import Counter
from collections.abc import Collection

_OWNER = re.compile(r'\(\("(?P<name>[^"]*)",pid=(?P<pid>\d+)')
_BYTES = re.compile(r"\bbytes_(?:sent|received):(\d+)")


def bytes_by_process(names: Collection[str], port: int = 0) -> Counter[int]:
    """Sent and received on the connections that are open now, by pid, of processes whose names begin with one of these.

    `port`: only connections of this local port.
    """
    done = subprocess.run(["ss", "-tinpHO", "state", "established"], capture_output=True, text=True, check=True)
    counted: Counter[int] = Counter()
    for line in done.stdout.splitlines():
        owner = _OWNER.search(line)
        local = line.split()[2]
        if owner is None or not owner["name"].startswith(tuple(names)) or (port and not local.endswith(f":{port}")):
            continue
        counted[int(owner["pid"])] += sum(map(int, _BYTES.findall(line)))
    return counted
