"""The operations port of several workers under plain uvicorn."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(ask: Callable[[], Any], what: str) -> Any:
    for _ in range(600):
        try:
            found = ask()
        except httpx.HTTPError:
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The public and the operations port of the mobile gateway with two workers."""
    public, ops = free_port(), free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "bffs.mobile.app:app", "--workers", "2", "--port", str(public)],
            cwd=ROOT,
            env={**os.environ, "BFF_OPS_PORT": str(ops), "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield public, ops
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


@pytest.mark.e2e
def test_one_has_the_port_and_another_takes_it_over(ports: tuple[int, int]) -> None:
    """Both serve; when the one with the port is killed, another answers on it."""
    public, ops = (f"http://127.0.0.1:{port}" for port in ports)
    eventually(lambda: httpx.get(f"{public}/health/ready").status_code == 200, "the gateway is ready")
    first = eventually(lambda: httpx.get(f"{ops}/console/snapshot").json()["process"], "the port is there")
    assert httpx.get(f"{ops}/health/ready").status_code == 200
    assert httpx.get(f"{public}/console").status_code == 404
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: httpx.get(f"{ops}/console/snapshot").json()["process"], "somebody takes it over")
    assert second != first
    assert "bff_gateway_info" in httpx.get(f"{ops}/metrics").text
    assert httpx.get(f"{public}/health/ready").status_code == 200
