"""The supervisor over small programs."""

from __future__ import annotations

import asyncio
import os
import re
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
from bff_core.cli.supervisor import Supervisor, restart_delay
from tests.cli.running import alive, free_port

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
    assert "ended (signal 9); starting it again in 0.2 s" in heard.lines("a")


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


async def test_one_that_ends_does_not_leave_the_others_waiting(heard: Heard) -> None:
    """The start is over for all, also for those that would have become ready much later."""
    services = {
        "slow": Service(command="sleep 600", port=free_port()),
        "bad": Service(command="false", port=free_port()),
    }
    supervisor = Supervisor(Project(services=services), PORT_BASE, heard)
    before = asyncio.all_tasks()
    with pytest.raises(SettingsError, match="bad ended while it was starting"):
        await supervisor.start(lambda _: None)
    await supervisor.stop()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("line", "answer"),
    [(b"HTTP/1.1 404 Not Found\r\n\r\n", "404"), (b"who is it?\r\n", "no HTTP"), (None, "none (")],
)
async def test_what_is_never_ready(
    line: bytes | None, answer: str, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is waited for, and at the end: what was asked, what came, and how to ask for something else."""
    monkeypatch.setattr("bff_core.cli.supervisor.READY_WITHIN", 0.3)
    monkeypatch.setattr("bff_core.cli.supervisor.TELL_AFTER", 0.0)
    asked: list[bytes] = []

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(line or b"")
        writer.close()

    port = free_port()
    server = None if line is None else await asyncio.start_server(say, "127.0.0.1", port)
    supervisor = Supervisor(Project(services={"a": Service(command="sleep 600", port=port)}), PORT_BASE, heard)
    question = f"GET http://127.0.0.1:{port}/health must be a 200, the last answer was {answer}"
    with pytest.raises(SettingsError, match=re.escape(question)) as refused:
        await supervisor.start(lambda _: None)
    assert 'another path: ready = "/..." in [tool.bff.services.a] of pyproject.toml' in str(refused.value)
    assert [each.startswith(f"is waited for: {question}") for each in heard.lines("a")] == [True]
    assert set(asked) == (set() if line is None else {b"GET /health HTTP/1.1\r\n"})
    await supervisor.stop()
    if server is not None:
        server.close()
        await server.wait_closed()


async def test_no_such_program(tmp_path: Path, heard: Heard) -> None:
    """At the start it is an error; later it is tried again until the program is back."""
    program = tmp_path / "program"
    service = Service(command=f"{program} {{port}}", port=free_port(), ready="/")
    supervisor = Supervisor(Project(services={"a": service}), PORT_BASE, heard)
    with pytest.raises(SettingsError, match=r"a cannot be started: .*No such file"):
        await supervisor.start(lambda _: None)
    await supervisor.stop()
    program.write_text(f"#!{sys.executable}\n{PROGRAM}")
    program.chmod(0o700)
    supervisor = Supervisor(Project(services={"a": service}), PORT_BASE, heard)
    await supervisor.start(lambda _: None)
    child = supervisor.services[0]
    program.rename(tmp_path / "away")
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    await until(lambda: any("No such file" in line for line in heard.lines("a")), "it cannot be started")
    (tmp_path / "away").rename(program)
    await until(lambda: child.pid, "it is back")
    await supervisor.stop()


@pytest.mark.parametrize(
    ("last", "lived", "delay"),
    [(0, 1, 0.2), (0.2, 1, 0.4), (0.4, 0, 0.8), (3.2, 0, 5), (5, 9, 5), (5, 11, 0.2), (0, 1000, 0.2)],
)
def test_restart_delay(last: float, lived: float, delay: float) -> None:
    """Soon at first, doubled for what ends again and again, soon again for what was steady."""
    assert restart_delay(last, lived) == delay


async def test_the_dead_leave_no_children(tmp_path: Path, heard: Heard) -> None:
    """What a program has started ends with it, or the port would be held when it is started again."""
    code = f"import subprocess; open({str(tmp_path / 'pid')!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid))"
    child = Child("a", [sys.executable, "-c", code], {}, 1, heard, Leash())
    await child.start()
    assert await child.wait() == 0
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_daemon_that_holds_the_pipe(tmp_path: Path, heard: Heard) -> None:
    """What has left a program's group is not waited for, even when it could still write."""
    code = (
        "import subprocess; daemon = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(daemon.pid)); print('last words')"
    )
    child = Child("a", [sys.executable, "-c", code], {}, 1, heard, Leash())
    await child.start()
    assert await child.wait() == 0
    assert heard.lines("a") == ["last words"]
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


async def test_what_cannot_be_said_stops_nobody() -> None:
    """A child goes on although its output can be written nowhere, even more than a pipe holds."""

    def say(name: str, line: str) -> None:
        raise OSError(28, f"no space for {name}: {line}")

    child = Child("a", [sys.executable, "-c", "for _ in range(10_000): print('x' * 100)"], {}, 1, say, Leash())
    await child.start()
    assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_a_leash_let_go_ends_what_it_holds(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    """What is deaf as well; what was released is left alone."""
    monkeypatch.setattr("bff_core.cli.leash.GRACE", 0.2)
    leash = Leash()
    leash.start()
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    children = [Child(name, [sys.executable, "-c", deaf], {}, 1, heard, leash) for name in ("held", "released")]
    for child in children:
        await child.start()
        await until(lambda c=child: heard.lines(c.name) == ["deaf"], "it runs")
    held, released = children
    assert released.pid
    leash.release(released.pid)
    await leash.stop()
    await until(lambda: held.pid is None, "the held one is ended")
    assert released.pid
    released.kill()
    assert await released.wait() == -signal.SIGKILL


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
