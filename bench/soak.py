"""Minutes of bad luck: the web gateway under load while its services fail, stall and die at random.

``python -m bench.soak [--seconds 180]``. The gateway runs in this process, so that what it holds can be counted; the
services run under the supervisor, the load in a process of its own. Exit status 1 when anything leaked, an answer came
later than the deadline and a tenth, or was a 500.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bff_core import Bff
from bff_core.cli.config import PORT_BASE, load_project
from bff_core.cli.supervisor import Supervisor
from shop.seed import seed
from shop.services.identity import issue_token

PAGES = [
    *(f"/api/products/p{number}" for number in range(1, 400, 7)),
    *(f"/api/search?q={word}" for word in ("lamp", "tea", "oak", "kōjō".encode().hex())),
    *("!/api/home", "!/api/orders", "!/api/orders/o1", "!/api/home"),
]
FAULTS: list[dict[str, Any]] = [
    {"latency_ms": 300, "jitter_ms": 200},
    {"latency_ms": 3000},
    {"error_rate": 0.3},
    {"error_rate": 1.0},
    {"down": True},
    {"latency_ms": 50, "jitter_ms": 50, "error_rate": 0.1},
]
console = Console()


def resident() -> float:
    """This process' resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptors() -> int:
    """How many files and sockets are open."""
    return len(os.listdir("/proc/self/fd"))


class Chaos:
    """Makes one service unhappy at a time, and some of them at once."""

    def __init__(self, supervisor: Supervisor, client: httpx.AsyncClient) -> None:
        self._services = [child for child in supervisor.services if child.name != "identity"]
        self._client = client
        self.done: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            child = random.choice(self._services)
            fault: Callable[[Any], Any] = random.choice([self._fault] * 5 + [self._kill, self._stall, self._heal])
            await fault(child)
            self.done[fault.__name__.strip("_")] = self.done.get(fault.__name__.strip("_"), 0) + 1
            await asyncio.sleep(random.uniform(0.2, 1.5))

    async def heal_all(self) -> None:
        """Every service as it should be."""
        for child in self._services:
            await self._heal(child)

    async def _put(self, child: Any, faults: dict[str, Any]) -> None:
        try:
            await self._client.put(f"http://127.0.0.1:{child.port}/_faults", json=faults)
        except httpx.HTTPError:
            pass  # it is being restarted

    async def _fault(self, child: Any) -> None:
        await self._put(child, random.choice(FAULTS))

    async def _heal(self, child: Any) -> None:
        await self._put(child, {})

    async def _kill(self, child: Any) -> None:
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)

    async def _stall(self, child: Any) -> None:
        pid = child.pid
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0.5, 3))
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


class Soak:
    """One run, and what it found."""

    def __init__(self, app: Bff, supervisor: Supervisor, port: int, token: str, connections: int) -> None:
        self._app = app
        self._supervisor = supervisor
        self._port = port
        self._token = token
        self.connections = connections

    async def load(self, seconds: float) -> dict[str, Any]:
        """Ask for pages from a process of its own."""
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "bench.load",
                f"http://127.0.0.1:{self._port}",
                str(seconds),
                str(self.connections),
            ),
            *(self._token, *PAGES),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        report: dict[str, Any] = json.loads(output)
        return report

    async def settle(self) -> dict[str, float]:
        """What is held when nothing is asked for."""
        for _ in range(200):
            if self._in_flight() == 0:
                break
            await asyncio.sleep(0.05)
        gc.collect()
        return {
            "exchanges in flight": self._in_flight(),
            "shared calls": sum(
                len(bound.flights) for client in self._app.clients.values() for bound in client.bound.values()
            ),
            "half-open permits": sum(len(up.breaker._probes) for up in self._app.upstreams.values()),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": descriptors(),
            "memory MiB": resident(),
        }

    def _in_flight(self) -> int:
        return sum(upstream.wire.in_flight for upstream in self._app.upstreams.values())


async def main(seconds: float, connections: int) -> int:
    """Warm up, make trouble, calm down, compare."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        os.environ["SHOP_DATA"] = folder
        seed(data)
        base = 24_000
        project = load_project()
        supervisor = Supervisor(project.model_copy(update={"gateways": {}}), base, lambda *_: None)
        for name, service in project.services.items():
            os.environ[f"BFF_SERVICES__{name.upper()}__URL"] = f"http://127.0.0.1:{service.port + base - PORT_BASE}"
        os.environ["BFF_LOG_LEVEL"] = "CRITICAL"
        from bffs.web.app import app

        supervisor.check_ports()
        await supervisor.start(lambda _: None)
        server = uvicorn.Server(uvicorn.Config(app, port=base + 2, log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        soak = Soak(app, supervisor, base + 2, issue_token(data, "u1", lifetime=36_000), connections)
        try:
            return await trouble(soak, supervisor, seconds, app)
        finally:
            server.should_exit = True
            await serving
            await supervisor.stop()


async def trouble(soak: Soak, supervisor: Supervisor, seconds: float, app: Bff) -> int:
    """The run itself; gives the exit status."""
    console.print("warming up: every page, caches full, everything healthy")
    await soak.load(15)
    before = await soak.settle()
    async with httpx.AsyncClient(timeout=2) as client:
        chaos = Chaos(supervisor, client)
        wreaking = asyncio.create_task(chaos.run())
        loading = asyncio.create_task(soak.load(seconds))
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("soaking", total=seconds)
            while not loading.done():
                await asyncio.sleep(0.5)
                progress.update(task, advance=0.5)
        wreaking.cancel()
        await asyncio.gather(wreaking, return_exceptions=True)
        await chaos.heal_all()
    report = loading.result()
    await soak.load(5)
    after = await soak.settle()
    connections = soak.connections * len(app.upstreams)
    return tell(report, chaos.done, before, after, deadline=app.settings.deadline, connections=connections)


def tell(
    report: dict[str, Any],
    chaos: dict[str, int],
    before: dict[str, float],
    after: dict[str, float],
    *,
    deadline: float,
    connections: int,
) -> int:
    """Print what was found; 1 when something is wrong."""
    console.print("faults:", ", ".join(f"{name} {count}" for name, count in sorted(chaos.items())))
    console.print("answers:", json.dumps(report))
    table = Table("held at rest", "before", "after", "may be")
    wrong = []
    allowed = dict.fromkeys(before, 0.0) | {
        "tasks": before["tasks"] + 2,
        # Kept-alive connections: at most as many to each service as were ever in flight to it at once.
        "descriptors": before["descriptors"] + connections,
        "memory MiB": before["memory MiB"] * 1.2 + 10,
    }
    for name, value in after.items():
        good = value <= allowed[name]
        table.add_row(
            name, f"{before[name]:.0f}", f"{value:.0f}", f"≤ {allowed[name]:.0f}", style=None if good else "red"
        )
        wrong += [] if good else [f"{name}: {value:.0f}"]
    console.print(table)
    if report["longest"] > deadline * 1.1:
        wrong.append(f"an answer after {report['longest']:.2f} s, with a deadline of {deadline} s")
    if report["statuses"].get("500") or report["statuses"].get("broken connection"):
        wrong.append(f"answers that must not be: {report['statuses']}")
    console.print("[red]" + "; ".join(wrong) if wrong else "[green]nothing leaked, nothing late, no 500")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--connections", type=int, default=24)
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.seconds, options.connections)))
