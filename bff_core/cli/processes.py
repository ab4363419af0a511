"""One child process: started in a group of its own, its output prefixed, its death noticed."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

__all__ = ["Child", "python_command"]

GRACE = 10.0
PR_SET_PDEATHSIG = 1
Say = Callable[[str, str], None]


def python_command(command: str) -> list[str]:
    """The words of ``command``, with this interpreter for ``python``."""
    words = shlex.split(command)
    return [sys.executable, *words[1:]] if words and words[0] == "python" else words


def _die_with_parent() -> None:
    # A supervisor that is killed must leave nothing behind. Linux only; elsewhere the terminal's hang-up has to do.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One program under supervision. ``say(name, line)`` is told each line it prints."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], port: int, say: Say) -> None:
        self.name = name
        self.port = port
        self.restarts = 0
        self._command = command
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process is not None else None

    async def start(self) -> None:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            limit=1024 * 1024,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def wait(self) -> int:
        """Its exit status, when it has ended and all it printed is said."""
        assert self._process is not None  # noqa: S101 - only a started child is waited for
        status = await self._process.wait()
        if self._reader is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._reader), 1.0)
        return status

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not within ten seconds."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(process.wait()), GRACE)
        except TimeoutError:
            self._say(self.name, f"did not stop within {GRACE:.0f} s; killed")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # a line longer than the limit: what was read of it is dropped
            if not line:
                return
            self._say(self.name, line.decode(errors="replace").rstrip())
