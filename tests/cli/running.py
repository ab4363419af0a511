"""A small project of one service and one gateway, run by `bff up` as a user would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICE = """
import http.server, os, pathlib, signal, subprocess, sys
here = pathlib.Path("data"); here.mkdir(exist_ok=True)
port, *how = sys.argv[1:]
def stop(*_):
    if "deaf" not in how:
        (here / "stopped").touch()
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if "parent" in how:
    # What is ignored stays ignored in a child: it is deaf from its first moment on.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    signal.signal(signal.SIGTERM, before)
    (here / "child").write_text(str(child.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if "unready" in how else 200); self.end_headers()
        if self.path != "/health":
            print("asked for", self.path, flush=True)
    def log_message(self, *words):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(port)), Handler)
(here / "service").write_text(str(os.getpid()))
server.serve_forever()
"""
GATEWAY = """
import os, pathlib
from bff_core import ServiceClient, create_bff, get
class Echo(ServiceClient, service="echo"):
    @get("/")
    async def echo(self) -> str: ...
app = create_bff("tiny", clients=[Echo])
pathlib.Path("data/gateway").write_text(str(os.getpid()))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], object], what: str) -> None:
    """Poll, up to half a minute."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


def alive(pid: int) -> bool:
    """Whether it runs; what only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass
class Tiny:
    """The project in a folder; ``start`` gives `bff up`, writing to ``output``."""

    folder: Path
    port: int
    gateway_port: int

    def pid(self, name: str) -> int:
        file = self.folder / "data" / name
        return int(file.read_text() or 0) if file.exists() else 0

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def start(self, *words: str, folder: str = ".", stdout: int | None = None) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with (self.folder / "output").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "bff_core.cli", *(words or ("up",))],
                cwd=self.folder / folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "COLUMNS": "40"},
                stdout=output if stdout is None else stdout,
                stderr=output,
            )

    def gone(self) -> bool:
        """Whether nothing of it runs any more."""
        return not any(alive(pid) for name in ("service", "gateway", "child") if (pid := self.pid(name)))


def make(folder: Path, how: str = "") -> Tiny:
    """The project, its service as ``how`` says: deaf, unready, parent."""
    port, gateway_port = free_port(), free_port()
    (folder / "service.py").write_text(SERVICE)
    (folder / "tiny.py").write_text(GATEWAY)
    (folder / "pyproject.toml").write_text(
        f"[tool.bff.services]\necho = {{ command = 'python service.py {{port}} {how}', port = {port} }}\n"
        f"[tool.bff.gateways]\ntiny = {{ app = 'tiny:app', port = {gateway_port} }}\n"
    )
    return Tiny(folder, port, gateway_port)


def end(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> int:
    """Its exit status after the signal."""
    process.send_signal(number)
    return process.wait(40)
