"""Bytes that processes have on their TCP connections, by `ss` (Debian's iproute2)."""

import re
import subprocess
from collections import Counter
from collections.abc import Collection, Sequence

_OWNER = re.compile(r'\(\("(?P<name>[^"]*)",pid=(?P<pid>\d+)')
_BYTES = re.compile(r"\bbytes_(?:sent|received):(\d+)")
_SENT = re.compile(r"\bbytes_sent:(\d+)")


def bytes_by_process(names: Collection[str], port: int = 0) -> Counter[int]:
    """Sent and received on the connections that are open now, by pid, of processes whose names begin with one of these.

    `port`: only connections of this local port.
    """
    counted: Counter[int] = Counter()
    for line in _connections():
        owner = _OWNER.search(line)
        local = line.split()[2]
        if owner is None or not owner["name"].startswith(tuple(names)) or (port and not local.endswith(f":{port}")):
            continue
        counted[int(owner["pid"])] += sum(map(int, _BYTES.findall(line)))
    return counted


def bytes_between(groups: Sequence[Collection[int]]) -> int:
    """Sent by processes of one group to those of another, on the connections that are open now."""
    group_of = {pid: number for number, group in enumerate(groups) for pid in group}
    ends: dict[str, tuple[int, str, int]] = {}
    for line in _connections():
        owner, sent = _OWNER.search(line), _SENT.search(line)
        if owner is not None and int(owner["pid"]) in group_of:
            # A socket that takes both has IPv4 addresses in the form of IPv6.
            _, _, local, peer, *_ = (word.replace("[::ffff:", "").replace("]:", ":") for word in line.split())
            ends[local] = (group_of[int(owner["pid"])], peer, int(sent[1]) if sent else 0)
    return sum(sent for group, peer, sent in ends.values() if peer in ends and ends[peer][0] != group)


def _connections() -> list[str]:
    done = subprocess.run(["ss", "-tinpHO", "state", "established"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
