"""One child process: started in a group of its own, its output prefixed, its death noticed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from .leash import Leash

__all__ = ["Child"]

GRACE = 20.0  # longer than a gateway's own ``shutdown_grace``, which is 15 s unless it is set
POLL = 0.05
LAST_WORDS = 1.0
LONGEST_LINE = 1024 * 1024
Say = Callable[[str, str], None]


class Child:
    """One program under supervision. ``say(name, line)`` is told each line it prints."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], port: int, say: Say, leash: Leash
    ) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._say = say
        self._leash = leash
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process is not None else None

    async def start(self) -> None:
        """Start it; raises ``OSError`` when there is no such program."""
        # A pipe of our own: asyncio's would be waited for with the process, and children of a child may hold it longer.
        reading, writing = os.pipe()
        self._reader = asyncio.create_task(self._read(reading))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=asyncio.subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        finally:
            os.close(writing)
        self._leash.hold(self._process.pid)

    async def wait(self) -> int:
        """Its exit status, when it has ended, its own children have ended and all it printed is said."""
        assert self._process is not None  # noqa: S101 - only a started child is waited for
        status = await self._process.wait()
        await self.stop()
        return status

    async def stop(self) -> None:
        """Ask it and its own children to end, and end them if they do not within the grace."""
        process = self._process
        if process is None:
            return
        if not await self._ends(process):
            self._say(self.name, f"did not stop within {GRACE:g} s; killed")
            _signal(process.pid, signal.SIGKILL)
        await process.wait()
        self._leash.release(process.pid)
        self._process = None
        if self._reader is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reader, LAST_WORDS)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            _signal(self._process.pid, signal.SIGKILL)

    async def _ends(self, process: asyncio.subprocess.Process) -> bool:
        """Whether its whole group is gone within the grace of being asked to."""
        loop = asyncio.get_running_loop()
        until = loop.time() + GRACE
        there = _signal(process.pid, signal.SIGTERM)
        while there and loop.time() < until:
            await asyncio.sleep(POLL)
            there = _signal(process.pid, 0)
        return not there

    async def _read(self, pipe: int) -> None:
        lines = asyncio.StreamReader(LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(pipe, "rb", buffering=0)
        )
        try:
            while True:
                # What cannot be said is dropped, and what was read of a line that is too long: a pipe that nobody reads
                # would fill and stop the child.
                with suppress(OSError, ValueError):
                    line = await lines.readline()
                    if not line:
                        return
                    self._say(self.name, line.decode(errors="replace").rstrip())
        finally:
            transport.close()


def _signal(group: int, number: int) -> bool:
    """Whether there was such a process group to tell."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # the second is what macOS says of a group of the dead
        return False
    return True
