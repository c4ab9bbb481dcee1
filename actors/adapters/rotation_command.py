"""A Publisher that runs the operator's command: ACTION NAME RECORD are added to it. No shell, nearly no environment."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from actors.dkim.rotation.ports import Publisher, RotationError

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_OUTPUT_BYTES_MAX = 2048
_CHUNK_BYTES = 65_536


class Command:
    """Exit code 0 = done. What the command prints is given back, up to 2 kB."""

    def __init__(self, words: Sequence[str], timeout_s: float, first: Publisher | None = None) -> None:
        """`first` tells DNS before the command is run, which then loads what it wrote."""
        self._words = tuple(words)
        self._timeout_s = timeout_s
        self._first = first

    async def publish(self, domain: str, name: str, record: str) -> str:
        """`publish NAME RECORD`."""
        told = await self._first.publish(domain, name, record) if self._first else ""
        return self._joined(told, await self._run("publish", name, record))

    async def revoke(self, domain: str, name: str, record: str) -> str:
        """`revoke NAME RECORD`: the record whose p= is empty."""
        told = await self._first.revoke(domain, name, record) if self._first else ""
        return self._joined(told, await self._run("revoke", name, record))

    async def remove(self, domain: str, name: str) -> str:
        """`remove NAME ""`."""
        told = await self._first.remove(domain, name) if self._first else ""
        return self._joined(told, await self._run("remove", name, ""))

    @staticmethod
    def _joined(*texts: str) -> str:
        return "; ".join(filter(None, texts))

    async def _run(self, *words: str) -> str:
        """Raises RotationError and OSError."""
        process = await asyncio.create_subprocess_exec(
            *self._words,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        output = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                await _collect(process, output)
                code = await process.wait()
        except TimeoutError:
            raise RotationError(
                f"{self._words[0]} {words[0]}: killed after {self._timeout_s:g} s{_told(output)}"
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if code:
            raise RotationError(f"{self._words[0]} {words[0]}: exit code {code}{_told(output)}")
        return output.decode("utf-8", "backslashreplace").strip()


async def _collect(process: asyncio.subprocess.Process, output: bytearray) -> None:
    """The beginning of what it prints; the rest is read and dropped, so that it does not wait for us."""
    if process.stdout is None:
        return
    while chunk := await process.stdout.read(_CHUNK_BYTES):
        output += chunk[: _OUTPUT_BYTES_MAX - len(output)]


def _told(output: bytearray) -> str:
    text = output.decode("utf-8", "backslashreplace").strip()
    return f": {text}" if text else ""
