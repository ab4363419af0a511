"""What every benchmark needs: processes pinned to a core, their CPU time and memory, a load by wrk."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LOAD_CORE", "Measured", "Server", "free_port", "load", "offer"]

SERVER_CORE, LOAD_CORE = 0, 1
TICK = os.sysconf("SC_CLK_TCK")
LUA = Path(__file__).parent / "keys.lua"


def free_port() -> int:
    """A port nobody listens on, below those the kernel gives to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(frozen=True, slots=True)
class Measured:
    """One round: CPU microseconds per page of the whole process tree, and what the load saw."""

    cpu_us_per_page: float
    pages_per_s: float
    p50_ms: float
    p99_ms: float
    peak_mb: float
    errors: int = 0


class Server:
    """A process tree on one core."""

    def __init__(
        self,
        command: Sequence[str | Path],
        port: int,
        environment: Mapping[str, str],
        *,
        core: int = SERVER_CORE,
        folder: Path,
        cwd: Path | None = None,
    ) -> None:
        self.port = port
        self._log = folder / f"server-{port}.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the peers' own programs
                [str(word) for word in command],
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=output,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - there are no threads here
            )

    def wait(self, path: str = "/products/p0", seconds: float = 30.0) -> None:
        """Until it answers; raises ``RuntimeError`` with what it printed when it does not."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(self.log() or "it did not answer")

    def stop(self) -> None:
        """End it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
            return

    def tree(self) -> list[int]:
        """The process ids of the tree."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                children.setdefault(parent, []).append(int(entry))
        found, todo = [], [self._process.pid]
        while todo:
            current = todo.pop()
            found.append(current)
            todo += children.get(current, [])
        return found

    def log(self) -> str:
        """The end of what it wrote to standard error."""
        return self._log.read_text(errors="replace")[-2000:]

    def cpu(self) -> float:
        """Seconds of user and system time of the tree so far, to the nanosecond where the kernel has it."""
        return sum(_cpu(pid) for pid in self.tree())

    def peak_mb(self) -> float:
        """Megabytes at the peak, of the whole tree."""
        return sum(_status(pid, "VmHWM") for pid in self.tree()) / 1000

    def rss_mb(self) -> float:
        """Megabytes now."""
        return sum(_status(pid, "VmRSS") for pid in self.tree()) / 1000


def _cpu(pid: int) -> float:
    try:
        # schedstat counts nanoseconds on the run queue's clock, per thread; stat only ticks.
        threads = os.listdir(f"/proc/{pid}/task")
        return sum(int(Path(f"/proc/{pid}/task/{t}/schedstat").read_text().split()[0]) for t in threads) / 1e9
    except (OSError, IndexError):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / TICK


def _status(pid: int, name: str) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return float(line.split()[1])
    except OSError:
        pass
    return 0.0


def load(
    server: Server, path: str, seconds: int, *, keys: str = "distinct", connections: int = 32, seed: int = 1
) -> Measured:
    """Ask for ``path`` (``%d`` is the key) by wrk from the other core. ``keys``: ``distinct`` or ``zipf``."""
    before = server.cpu()
    told = subprocess.run(  # noqa: S603 - wrk
        [
            shutil.which("taskset") or "taskset", "-c", str(LOAD_CORE), shutil.which("wrk") or "wrk", "-t1",
            f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(LUA),
            f"http://127.0.0.1:{server.port}", "--", keys, path, str(seed),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    used = server.cpu() - before
    said: dict[str, Any] = json.loads(told.stdout.rpartition("RESULT ")[2])
    pages = max(1, said["requests"])
    if said["errors"] > pages / 20:
        raise SystemExit(f"{said['errors']} of {pages} answers to {path} were errors:\n{server.log()}")
    return Measured(
        cpu_us_per_page=used / pages * 1e6,
        pages_per_s=pages / said["seconds"],
        p50_ms=said["p50"],
        p99_ms=said["p99"],
        peak_mb=server.peak_mb(),
        errors=said["errors"],
    )


def offer(server: Server, program: Path, path: str, rate: float, seconds: int) -> dict[str, Any]:
    """Offer ``rate`` requests a second from the other core, whatever becomes of them (open loop)."""
    connections = int(min(4000, max(64, rate / 5)))
    told = subprocess.run(  # noqa: S603 - our own load
        [
            shutil.which("taskset") or "taskset", "-c", str(LOAD_CORE), str(program), f"127.0.0.1:{server.port}", path,
            str(rate), str(seconds), str(connections),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(told.stdout)
    return {
        "good_per_s": round(said["good"] / seconds, 1),
        "refused_per_s": round(said["refused"] / seconds, 1),
        "failed_per_s": round(said["failed"] / seconds, 1),
        "p50_ms": round(said["p50"], 2),
        "p99_ms": round(said["p99"], 2),
    }
