"""The whole project, running as `bff up` runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from bff_core.cli.supervisor import port_holder
from shop.ports import PORTS
from shop.services.identity import issue_token

ROOT = Path(__file__).parents[2]
GATEWAYS = {"mobile": 8001, "web": 8002, "partner": 8003}
KEY = {"x-api-key": "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq"}


def eventually(condition: Callable[[], object], what: str) -> None:
    """Poll, up to two minutes: a dozen processes start beside other tests."""
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


def free_port_base() -> int:
    """A port base whose ports are all free."""
    for base in range(20_000, 60_000, 1_500):
        try:
            for port in [*GATEWAYS.values(), *PORTS.values()]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port - 8000 + base))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


@dataclass
class Project:
    """A running project; ``output`` is what it said until it was up."""

    process: subprocess.Popen[bytes]
    base: int
    data: Path
    output: str

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{(GATEWAYS | PORTS)[name] - 8000 + self.base}"

    def get(self, gateway: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return httpx.get(self.url(gateway) + path, headers=headers, timeout=20)

    def bearer(self, user: str = "u1", **options: Any) -> dict[str, str]:
        return {"authorization": f"Bearer {issue_token(self.data, user, **options)}"}

    def pid_at(self, name: str) -> int:
        """The process that has the port of that service or gateway, 0 for none."""
        holder = port_holder((GATEWAYS | PORTS)[name] - 8000 + self.base)
        return int(holder.rpartition(" ")[2].rstrip(")")) if holder else 0

    def all_gone(self) -> None:
        for name in [*GATEWAYS, *PORTS]:
            eventually(lambda n=name: self.pid_at(n) == 0, f"{name} is gone")

    def fault(self, service: str, **faults: Any) -> None:
        httpx.put(f"{self.url(service)}/_faults", json=faults).raise_for_status()

    def requests(self, service: str) -> int:
        count: int = httpx.get(f"{self.url(service)}/_stats").json()["requests"]
        return count


def start(base: int, data: Path) -> Project:
    """Run `bff up` and wait until it is up or has ended. It writes to a file, which nobody needs to read for it."""
    log = data / f"up-{base}-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bff_core.cli", "up", "--port-base", str(base)],
            cwd=ROOT,
            env={**os.environ, "SHOP_DATA": str(data), "COLUMNS": "140"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    eventually(lambda: "\nRunning." in log.read_text() or process.poll() is not None, "the project is up")
    return Project(process, base, data, log.read_text())


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    running = start(free_port_base(), tmp_path_factory.mktemp("shop"))
    assert running.process.poll() is None, running.output
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0, "Ctrl-C"
        running.all_gone()


@pytest.fixture
def whole(project: Project) -> Iterator[Project]:
    """The project, with every fault taken back afterwards and every breaker closed again."""
    yield project
    for service in PORTS:
        project.fault(service)
    eventually(lambda: "_degraded" not in project.get("web", "/api/products/p1").json(), "a whole page again")
    eventually(lambda: project.get("web", "/api/products/p1").status_code == 200, "an answer again")
