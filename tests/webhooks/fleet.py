"""Dispatchers as processes, to be killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bff_core.webhooks import EventType, Webhooks, WebhookSettings

__all__ = ["KEY", "Fleet", "Order", "build"]

ROOT = Path(__file__).parents[2]
VARIABLE = "WEBHOOKS_UNDER_TEST"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Order(BaseModel):
    """What is told of."""

    id: str


def build(settings: dict[str, Any]) -> Webhooks:
    """As every process has them."""
    kind = EventType("order.updated", Order, "An order has changed.", Order(id="o1"))
    made = WebhookSettings.model_validate({"keys": [KEY], "allow": ["127.0.0.0/8"], **settings})
    return Webhooks(made, events=[kind])


class Fleet:
    """``count`` dispatchers, each in a process that ``bff dispatch`` has started."""

    def __init__(self, count: int, settings: dict[str, Any]) -> None:
        self._environment = {**os.environ, VARIABLE: json.dumps(settings), "PYTHONPATH": str(ROOT)}
        self._lock = threading.Lock()  # killing and closing are done in threads
        self._closed = False
        self.killed = 0
        self.processes = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bff_core.cli", "dispatch", "tests.webhooks.fleet:webhooks"]
        return subprocess.Popen([*command, "--log-level", "ERROR"], cwd=ROOT, env=self._environment)

    def kill(self, index: int | None = None) -> None:
        """SIGKILL one, and start another in its place."""
        index = random.randrange(len(self.processes)) if index is None else index
        with self._lock:
            if self._closed:
                return
            self.processes[index].kill()
            self.processes[index].wait()
            self.killed += 1
            self.processes[index] = self._start()

    def close(self) -> list[int]:
        """Stop them as one should; their exit statuses."""
        with self._lock:
            self._closed = True
        for process in self.processes:
            process.terminate()
        return [process.wait() for process in self.processes]


if VARIABLE in os.environ:
    webhooks = build(json.loads(os.environ[VARIABLE]))
