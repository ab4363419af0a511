"""The supervisor over small programs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bff_core import SettingsError
from bff_core.cli.config import PORT_BASE, Project, Service
from bff_core.cli.leash import Leash
from bff_core.cli.processes import Child
from bff_core.cli.supervisor import Supervisor

PROGRAM = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *words):
        pass
print("hello from", sys.argv[1], flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(condition: object, what: str) -> None:
    for _ in range(400):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


class Heard(list[tuple[str, str]]):
    def __call__(self, name: str, line: str) -> None:
        self.append((name, line))

    def lines(self, name: str) -> list[str]:
        return [line for other, line in self if other == name]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def running(tmp_path: Path, heard: Heard) -> AsyncIterator[Supervisor]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    services = {name: Service(command=f"python {program} {{port}}", port=free_port(), ready="/") for name in ("a", "b")}
    supervisor = Supervisor(Project(services=services), PORT_BASE, heard)
    supervisor.check_ports()
    ready: list[str] = []
    await supervisor.start(ready.append)
    assert sorted(ready) == ["a", "b"]
    yield supervisor
    await supervisor.stop()


async def test_output_is_told_by_name(running: Supervisor, heard: Heard) -> None:
    """Each line comes with the name of who said it."""
    for child in running.services:
        await until(lambda c=child: heard.lines(c.name) == [f"hello from {c.port}"], "its first line")


async def test_what_dies_is_started_again(running: Supervisor, heard: Heard) -> None:
    """A new process, the neighbours untouched, and the log says so."""
    first, second = running.services
    killed, other = first.pid, second.pid
    assert killed
    os.kill(killed, signal.SIGKILL)
    await until(lambda: first.pid not in (None, killed), "a new process")
    assert second.pid == other
    assert any("ended (signal 9); starting it again" in line for line in heard.lines("a"))


async def test_stop_leaves_nothing(running: Supervisor) -> None:
    """Every process is gone, and stays gone."""
    pids = [child.pid for child in running.services]
    await running.stop()
    assert [child.pid for child in running.services] == [None, None]
    for pid in pids:
        assert pid
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_taken_port(heard: Heard) -> None:
    """The port, what wanted it and who has it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        supervisor = Supervisor(Project(services={"a": Service(command="true", port=port)}), PORT_BASE, heard)
        with pytest.raises(
            SettingsError, match=rf"{port} \(a\): held by .*\(process {os.getpid()}\)[\s\S]*--port-base N"
        ):
            supervisor.check_ports()


async def test_what_ends_at_once(heard: Heard) -> None:
    """A program that does not come up stops the start, with its own words in the log."""
    service = Service(command=f"{sys.executable} -c 'print(\"no database\"); raise SystemExit(3)'", port=free_port())
    supervisor = Supervisor(Project(services={"a": service}), PORT_BASE, heard)
    with pytest.raises(SettingsError, match="a ended while it was starting"):
        await supervisor.start(lambda _: None)
    await supervisor.stop()
    await until(lambda: heard.lines("a") == ["no database"], "its words")


async def test_a_deaf_child_is_killed(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ignores SIGTERM does not keep the rest from ending."""
    monkeypatch.setattr("bff_core.cli.processes.GRACE", 0.2)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    child = Child("deaf", [sys.executable, "-c", code], {}, 1, heard, Leash())
    await child.start()
    await until(lambda: heard.lines("deaf") == ["deaf"], "it runs")
    await child.stop()
    assert child.pid is None
    assert "did not stop within" in heard.lines("deaf")[-1]
