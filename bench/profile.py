"""Where a page's time goes: ``python -m bench.profile [--seconds 8]``.

Two tables. The first samples the gateway under load, a thousand times a second of its CPU time, and sorts the
samples by room. The second measures each layer of the edge alone. Both are of plain Python; the compiled wheel is
faster.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import linecache
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from rich.console import Console
from rich.table import Table

from bff_core.server import http1_protocol

from .compare import PAGE, upstream
from .lab import LOAD_CORE, SERVER_CORE, free_port
from .layers import layers

PACKAGE = "/bff_core/"
LINES = {
    "validate_json(": "validation (pydantic)",
    "self._serialize(": "serialization (pydantic)",
    "self.write(": "writing to sockets",
    "connection.write(": "writing to sockets",
    "made: BaseModel = new(model)": "shape",
}
LOOP = "event loop, kernel"
console = Console()


def place(frame: FrameType | None) -> str:
    """The room a sample belongs to."""
    while frame is not None:
        file = frame.f_code.co_filename
        if PACKAGE in file:
            line = linecache.getline(file, frame.f_lineno)
            for token, name in LINES.items():
                if token in line:
                    return name
            return file.rpartition(PACKAGE)[2].partition("/")[0].removesuffix(".py")
        if "uvicorn" in file:
            back = frame.f_back
            return "uvicorn" if back is None or "server.py" not in file else LOOP
        frame = frame.f_back
    return LOOP


def sampled(seconds: int) -> tuple[Counter[str], float, int]:
    """Samples by room, CPU seconds and pages of a gateway under load."""
    os.sched_setaffinity(0, {SERVER_CORE})
    samples: Counter[str] = Counter()
    with upstream() as behind:
        os.environ["UPSTREAM"] = f"http://127.0.0.1:{behind.plain}"
        from .peers.ours import app

        port = free_port()
        http: Any = http1_protocol(app.settings.hardening, app.begin, app.turns)
        config = uvicorn.Config(app, port=port, log_config=None, access_log=False, loop="uvloop", http=http)
        server = uvicorn.Server(config)
        told: list[int] = []

        async def measure() -> None:
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.05)
            command = [
                "taskset", "-c", str(LOAD_CORE), "wrk", "-t1", "-c32", f"-d{seconds}s", "-s",
                str(Path(__file__).parent / "keys.lua"), f"http://127.0.0.1:{port}", "--", "distinct", PAGE, "7",
            ]  # fmt: skip
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            output, _ = await process.communicate()
            signal.setitimer(signal.ITIMER_PROF, 0)
            told.append(int((time.process_time() - started) * 1e6))
            told.append(int(output.decode().partition('"requests": ')[2].partition(",")[0]))
            server.should_exit = True
            await serving

        signal.signal(signal.SIGPROF, lambda _, frame: samples.update([place(frame)]))
        import uvloop

        with contextlib.redirect_stdout(io.StringIO()):
            uvloop.run(measure())
    return samples, told[0] / 1e6, told[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8)
    options = parser.parse_args()
    samples, cpu, pages = sampled(options.seconds)
    each = cpu / max(1, pages) * 1e6
    total = sum(samples.values())
    table = Table(title=f"A page of three calls: {each:.0f} us of CPU ({pages} pages)", title_justify="left")
    for column in ("room", "share", "us"):
        table.add_column(column, justify="left" if column == "room" else "right")
    for room, count in samples.most_common():
        table.add_row(room, f"{count / total:.1%}", f"{each * count / total:.1f}")
    console.print(table)
    table = Table(title="The edge's layers, each alone", title_justify="left")
    table.add_column("layer")
    table.add_column("us", justify="right")
    for name, us in layers():
        table.add_row(name, f"{us:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
