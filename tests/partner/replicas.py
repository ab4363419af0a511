"""The partner gateway as it runs in production: processes of its own over one database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from bff_core import StoredKeys
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
PEPPER = "p" * 43


def keys_of(database: str) -> StoredKeys:
    """The keys that the replicas know."""
    return StoredKeys(database, pepper=SecretStr(PEPPER))


class Replica:
    """A process."""

    def __init__(self, database: str, folder: Path, **variables: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {name: value for name, value in os.environ.items() if not name.startswith("BFF_")}
        env |= {"PYTHONPATH": str(ROOT), "BFF_DATABASE": database, "BFF_PEPPER": PEPPER, "BFF_OPS_PORT": "off"}
        env |= {"BFF_WEBHOOK_KEYS": "s" * 43, "BFF_WEBHOOK_ALLOW": "127.0.0.0/8"}
        env |= {"BFF_SHED_AFTER": "100", "BFF_LOG_LEVEL": "WARNING", **variables}
        command = [sys.executable, "-m", "bff_core.cli", "serve", "bffs.partner.app:app", "--port", str(self.port)]
        with (folder / f"{self.port}.log").open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        self._log = folder / f"{self.port}.log"

    def ready(self) -> None:
        for _ in range(600):
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.05)
        raise AssertionError("the gateway did not start")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(20)


@contextmanager
def replicas(count: int, database: str, folder: Path, **variables: Any) -> Iterator[list[Replica]]:
    """So many of them, ready; gone afterwards."""
    running = [Replica(database, folder, **variables) for _ in range(count)]
    try:
        for one in running:
            one.ready()
        yield running
    finally:
        for one in running:
            one.stop(signal.SIGKILL)
