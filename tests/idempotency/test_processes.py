"""Processes of one gateway on one store: they race, and they are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LEASE = 5.0  # seconds, in place of a minute

RACE = """
import asyncio, json, sys
from pathlib import Path
import httpx
from bff_core.testing import bff_client
from tests.idempotency.gateway import LAMP, Service, gateway

url, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

class Counting(Service):
    async def handle(self, request):
        with (folder / "effects").open("a") as effects:
            effects.write(request.headers["idempotency-key"] + "\\n")
        await asyncio.sleep(0.01)
        return httpx.Response(201, json={"id": name + request.headers["idempotency-key"]})

async def until_done(client, key):
    while True:
        answer = await client.post("/things", json=LAMP, headers={"x-user": "ann", "idempotency-key": key})
        if answer.status_code != 409:
            return answer.status_code, answer.text
        await asyncio.sleep(0.01)

async def main():
    async with bff_client(gateway(url, Counting())) as client:
        await client.put("/touches", headers={"x-user": "ann", "idempotency-key": name * 2})
        print("ready", flush=True)
        sys.stdin.readline()
        keys = [f"key-number-{number}" for number in range(20)] * 2
        print(json.dumps(await asyncio.gather(*(until_done(client, key) for key in keys))))

asyncio.run(main())
"""

VICTIM = """
import asyncio, sys
import httpx
from bff_core.idempotency import ledger
from bff_core.testing import bff_client
from tests.idempotency.gateway import KEY, LAMP, Service, gateway

url, lease, hangs = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "hangs"

class Behind(Service):
    async def handle(self, request):
        print("told", request.headers["idempotency-key"], flush=True)
        if hangs:
            await asyncio.sleep(3600)
        return httpx.Response(201, json={"id": "done"})

async def main():
    ledger.MARGIN = lease - 30.0
    async with bff_client(gateway(url, Behind())) as client:
        await client.put("/touches", headers=KEY | {"idempotency-key": "another-key"})
        print("ready", flush=True)
        sys.stdin.readline()
        while True:
            answer = await client.post("/things", json=LAMP, headers=KEY)
            print(answer.status_code, "replayed" if "idempotency-replayed" in answer.headers else "", flush=True)
            if answer.status_code == 201:
                if "idempotency-replayed" in answer.headers:
                    return
            else:
                await asyncio.sleep(0.05)

asyncio.run(main())
"""


def start(code: str, *arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BFF_LOG_LEVEL": "ERROR"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_two_processes_one_has_the_effect(shared_url: str, tmp_path: Path) -> None:
    """Twenty requests, each sent twice to both at the same time: each is done once, and all get the one answer."""
    running = [start(RACE, shared_url, tmp_path, name) for name in ("one-", "two-")]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            go(process)
        said = [json.loads(process.communicate(timeout=50)[0]) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    effects = Counter((tmp_path / "effects").read_text().split())
    assert effects == {f"key-number-{number}": 1 for number in range(20)}
    answers = [answer for answers in said for answer in answers]
    assert {status for status, _ in answers} == {201}
    assert len(answers) == 80
    assert len({text for _, text in answers}) == 20


def test_killed_midway(shared_url: str) -> None:
    """Who comes next is told to wait until the lease ends; then the service is told the same key once more."""
    killed = start(VICTIM, shared_url, LEASE, "hangs")
    next_one = start(VICTIM, shared_url, LEASE, "answers")
    try:
        for process, said in ((next_one, "ready\n"), (killed, "ready\n"), (killed, "told a-key-of-mine\n")):
            assert process.stdout is not None
            assert process.stdout.readline() == said
            if said == "ready\n" and process is killed:
                go(process)
        killed.send_signal(signal.SIGKILL)
        go(next_one)
        rest, _ = next_one.communicate(timeout=50)
    finally:
        for process in (killed, next_one):
            process.kill()
            process.communicate()
    lines = [line.strip() for line in rest.splitlines()]
    waited = [line for line in lines if line == "409"]
    assert waited
    assert lines == [*waited, "told a-key-of-mine", "201", "201 replayed"]
