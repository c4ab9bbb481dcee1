"""Private keys that a command prints, as `vault kv get` does: run without a shell, bounded in time and output.

Its standard error is thrown away, since it may hold a secret: an operator runs it by hand to see it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from actors.dkim.signing.private_key import KEY_BYTES_MAX, KeyUnavailable, PrivateKeyError

PLACEHOLDER = "{name}"
_TOGETHER_MAX = 4
_TURN_S = 30.0
"""So long a question waits until it may run the command: when the command hangs, they would be more and more."""


class KeyCommand:
    """Fetches the text of keys."""

    def __init__(self, argv: Sequence[str], timeout_s: float) -> None:
        """`{name}` in the arguments is the name that is asked for."""
        self._argv = tuple(argv)
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(_TOGETHER_MAX)

    async def fetch(self, name: str) -> bytes:
        """What the command prints. Raises PrivateKeyError."""
        if not self._argv:
            raise PrivateKeyError("`command:` keys need `[dkim.signing] key_command`")
        program, *arguments = self._argv
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise KeyUnavailable(f"{program} is asked for too many keys at once") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await _output(program, [argument.replace(PLACEHOLDER, name) for argument in arguments])
        except TimeoutError:
            raise KeyUnavailable(f"{program} did not end in time") from None
        except OSError as error:
            raise KeyUnavailable(f"{program}: {error.strerror}") from error
        finally:
            self._turns.release()


class _Output(asyncio.SubprocessProtocol):
    """Collects what a process prints until it has ended and its output is closed, or there is too much of it."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.ended = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002  there is one
        self.text += data
        if len(self.text) > KEY_BYTES_MAX and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the exit code says it
        for future in (self.ended, self.lost):
            if not future.done():
                future.set_result(None)


async def _output(program: str, arguments: Sequence[str]) -> bytes:
    transport, output = await asyncio.get_running_loop().subprocess_exec(
        _Output,
        program,
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await output.ended
        code = transport.get_returncode()
    finally:
        # Its children too, and also when it has ended: one of them may live on.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        transport.close()
        await output.lost
    if len(output.text) > KEY_BYTES_MAX:
        raise PrivateKeyError(f"{program} prints more than a key")
    if code != 0:
        # Whether there is no such key or nobody to ask, no code says.
        raise KeyUnavailable(f"{program} ended with exit code {code}")
    return bytes(output.text)
