"""What a call to each store costs this process, in microseconds of its CPU time, and how long it takes.

``python -m bench.stores``: one call after the other on uvloop, values of 200 bytes, servers on this machine.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop

from bff_core.stores import open_store
from tests.servers import PostgresProcess, ValkeyProcess

CALLS = 2000
ROUNDS = 5


async def measure(name: str, call: Callable[[], Awaitable[object]]) -> None:
    cpu, wall = [], []
    for _ in range(ROUNDS):
        started, used = time.perf_counter(), time.process_time()
        for _ in range(CALLS):
            await call()
        cpu.append((time.process_time() - used) / CALLS * 1e6)
        wall.append((time.perf_counter() - started) / CALLS * 1e6)
    print(f"{name:24} {statistics.median(cpu):8.1f} µs CPU {statistics.median(wall):8.1f} µs")


async def run(url: str) -> None:
    store = open_store(url, namespace="bench", timeout=10.0)
    name = url.partition(":")[0]
    value = os.urandom(200)
    await store.put("k", value, 600)
    await measure(f"{name} get", lambda: store.get("k"))
    await measure(f"{name} put", lambda: store.put("k", value, 600))
    await measure(f"{name} swap, won", lambda: store.swap("k", value, value, 600))
    await measure(f"{name} swap, lost", lambda: store.swap("k", b"other", value, 600))
    await store.aclose()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        await run("memory://")
        await run(f"sqlite:///{folder}/x.db")
    for server in (PostgresProcess(), ValkeyProcess()):
        try:
            await run(server.url)
        finally:
            server.close()


if __name__ == "__main__":
    uvloop.run(main())
