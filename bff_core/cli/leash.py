"""Ends what a killed supervisor leaves behind.

A small process of its own that is told of every process group and waits on a pipe. The pipe closes when the supervisor
is gone, however it went; what is then still there is asked to end, and ended. The kernel's own signal for orphans is
Linux only, does not reach the children of children, nor end what is deaf to it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress

__all__ = ["Leash"]

PROGRAM = """
import os, signal, sys, time
groups = set()
for line in sys.stdin:
    sign, group = line[0], int(line[1:])
    groups.add(group) if sign == "+" else groups.discard(group)
def tell(number):
    for group in list(groups):
        try:
            os.killpg(group, number)
        except OSError:
            groups.discard(group)
tell(signal.SIGTERM)
until = time.monotonic() + float(sys.argv[1])
while groups and time.monotonic() < until:
    time.sleep(0.05)
    tell(0)
tell(signal.SIGKILL)
"""
GRACE = 5.0


class Leash:
    """Holds the process groups of one supervisor."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the watching process."""
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, the program above
            [sys.executable, "-I", "-S", "-c", PROGRAM, str(GRACE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def hold(self, group: int) -> None:
        """``group`` is running."""
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """``group`` is gone."""
        self._tell(f"-{group}\n")

    async def stop(self) -> None:
        """Nothing is left to hold."""
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(OSError):
            process.stdin.close()
        await asyncio.to_thread(process.wait)

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            # Without its leash a supervisor still supervises.
            with suppress(OSError):
                self._process.stdin.write(line)
                self._process.stdin.flush()
