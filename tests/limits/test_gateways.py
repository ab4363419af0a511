"""Two processes of one gateway, served over HTTP, on one store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.servers import free_port

ROOT = Path(__file__).parents[2]
MODULE = """
from bff_core import ConcurrencyLimit, Page, Quota, RateLimit, Settings, create_bff, section

class Hello(Page):
    @section
    def hello(self) -> str:
        return "hello"

app = create_bff("t", settings=Settings.load(), clients=[])
app.page("/hello", Hello, public=True, limits=[
    RateLimit("rate", "60/day", key="client_ip"),
    Quota("quota", 70, per="month", key=("client_ip", "route"), on_store_failure="deny"),
    ConcurrencyLimit("open", 1000, key=()),
])
app.limiter.store._timeout = 30.0  # the machine may be busy, and alone a process would let in too many
"""


@pytest.mark.parametrize("kind", ["valkey", "postgresql", "sqlite"])
async def test_exactly_as_many_as_there_may_be(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """200 requests at once, half to each process, at a limit of 60: sixty are answered, the others are told when to
    come again."""
    (tmp_path / "limited.py").write_text(MODULE)
    url = f"sqlite:///{tmp_path}/limits.db"
    if kind != "sqlite":
        url = str(request.getfixturevalue("valkey_url" if kind == "valkey" else "postgres_url"))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "BFF_LIMITS_URL": url, "BFF_SHED_AFTER": "100"}
    ports = [free_port(), free_port()]
    running = [start(port, tmp_path, env) for port in ports]
    try:
        async with httpx.AsyncClient(timeout=50, limits=httpx.Limits(max_connections=200)) as client:
            for port in ports:
                await until_ready(client, port)
            answers = await asyncio.gather(
                *(client.get(f"http://127.0.0.1:{ports[number % 2]}/hello") for number in range(200))
            )
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert Counter(answer.status_code for answer in answers) == {200: 60, 429: 140}
    assert all(0 < int(answer.headers["retry-after"]) <= 1440 for answer in answers if answer.status_code == 429)


def start(port: int, folder: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bff_core.cli", "serve", "limited:app", "--port", str(port)]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)


async def until_ready(client: httpx.AsyncClient, port: int) -> None:
    for _ in range(400):
        try:
            if (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("the gateway did not start")
