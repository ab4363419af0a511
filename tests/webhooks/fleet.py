"""Dispatchers as processes, to be killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
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
        self._members = [Member(self._environment) for _ in range(count)]

    def kill(self, index: int | None = None) -> None:
        """SIGKILL one, and start another in its place."""
        index = random.randrange(len(self._members)) if index is None else index
        with self._lock:
            if self._closed:
                return
            self._members[index].process.kill()
            self._members[index].wait()
            self.killed += 1
            self._members[index] = Member(self._environment)

    def close(self) -> list[int]:
        """Stop them as one should, once they are at work; their exit statuses."""
        with self._lock:
            self._closed = True
        for member in self._members:
            member.terminate()
        return [member.wait() for member in self._members]


class Member:
    """One of them."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "bff_core.cli", "dispatch", "tests.webhooks.fleet:webhooks"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self._log)

    def terminate(self) -> None:
        """SIGTERM, which before it is at work would only end the interpreter."""
        while self.process.poll() is None and not os.fstat(self._log.fileno()).st_size:
            time.sleep(0.02)
        self.process.terminate()

    def wait(self) -> int:
        """Its exit status."""
        with self._log:
            return self.process.wait()


if VARIABLE in os.environ:
    webhooks = build(json.loads(os.environ[VARIABLE]))
