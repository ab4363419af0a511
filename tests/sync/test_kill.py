"""``kill -9`` of a real gateway over a real SQLite file, at random points: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from tests.servers import free_port

from .device import Device
from .shop import Shop

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]
ROUNDS = 8


class Served:
    """The model shop on a socket, a little slow, so that there is time to kill who waits for it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        query = scope["query_string"].decode()
        url = f"http://notes.test{scope['path']}" + (f"?{query}" if query else "")
        await asyncio.sleep(0.002)
        response = self.shop.handle(httpx.Request(scope["method"], url, headers=scope["headers"], content=body))
        await asyncio.sleep(0.002)
        headers = [(key, value) for key, value in response.headers.raw if key.lower() != b"content-length"]
        headers.append((b"content-length", b"%d" % len(response.content)))
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})


@pytest.fixture
async def served() -> AsyncIterator[tuple[Shop, str]]:
    shop, port = Shop(), free_port()
    server = uvicorn.Server(uvicorn.Config(Served(shop), port=port, log_level="critical", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield shop, f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


class Gateway:
    """A process that is started again after it was killed, on the same port."""

    def __init__(self, url: str, store: str) -> None:
        self.port = free_port()
        self._arguments = [sys.executable, "-m", "tests.sync.gateway", str(self.port), url, store]
        self.process = subprocess.Popen(self._arguments, cwd=ROOT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    async def restart(self) -> None:
        self.process = await asyncio.to_thread(subprocess.Popen, self._arguments, cwd=ROOT)
        await self.ready()

    async def ready(self) -> None:
        async with httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(f"{self.url}/health/ready")).is_success:
                        return
                assert self.process.poll() is None
                await asyncio.sleep(0.05)


async def test_kill_9_at_random_points(served: tuple[Shop, str], tmp_path: Path) -> None:
    shop, url = served
    shop.fill("u1", 30)
    gateway = Gateway(url, f"sqlite:///{tmp_path}/sync.db")
    luck = random.Random(20)
    texts = []
    try:
        await gateway.ready()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as http:
            device = Device(http)
            for number in range(ROUNDS):
                for part in range(3):
                    texts.append(f"<{number}.{part}>")
                    device.mutate("note.append", note_id=f"n{number}", text={"text": texts[-1]})
                asking = asyncio.create_task(device.once())
                await asyncio.sleep(luck.random() * 0.06)
                gateway.kill()
                with contextlib.suppress(httpx.HTTPError):
                    await asking
                told = [id_ for id_, result in device.final.items() if result["status"] == "applied"]
                assert len(told) <= len(shop.effects), "told of a mutation that was not done"
                await gateway.restart()
            while device.outbox:
                await device.sync()
                await asyncio.sleep(0.2)  # the lease of who was killed ends by itself
            await device.sync()
    finally:
        gateway.kill()
    assert shop.effects == texts, "each once, in their order"
    assert {result["status"] for result in device.final.values()} == {"applied"}
    assert device.texts() == shop.texts("u1")
    assert device.ack == len(texts)
