"""What every process of the cell does first: logs, file limit, and how the C library keeps memory."""

import logging
import resource

from wire.memory import keep_freed_memory


def prepare_process() -> None:
    """Call it once, before the work begins."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    keep_freed_memory()
