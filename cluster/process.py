"""What every process of the cell does first: logs, file limit, and how the C library keeps memory."""

import logging
import resource
import threading
from pathlib import Path

from wire.memory import keep_freed_memory


def thread_times() -> tuple[float, float]:
    """(CPU time, time without a core although there was work) of the calling thread since it began, in seconds.

    From the kernel's own account, so that nothing is measured while mail is handled (proc(5), schedstat).
    """
    run_ns, starved_ns, _ = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    return int(run_ns) / 1e9, int(starved_ns) / 1e9


def own_memory_bytes() -> int:
    """Memory of this process that it shares with no other (proc(5), statm)."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * resource.getpagesize()


def prepare_process() -> None:
    """Call it once, before the work begins."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    keep_freed_memory()
