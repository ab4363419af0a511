"""Servers that others wrote, started as processes when a test first asks for one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bff_core.testing import refused_port

from .certificates import Authority

__all__ = ["KINDS", "Others"]

HERE = Path(__file__).parent / "servers"
ROOT = Path(__file__).parents[2]
KINDS = ("httptools", "h11", "node", "go", "nginx")


class Others:
    """``origin(kind)`` is where the server of that kind listens; it skips the test when there is no such program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._origins: dict[str, str] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self._go: Path | None = None
        self.authority = Authority(folder)
        self.certificate = self.authority.issue("localhost")

    def origin(self, kind: str) -> str:
        if kind not in self._origins:
            name, _, secure = kind.partition(" ")
            if name == "nginx":
                self._start_nginx()
            else:
                port = self._start([*self._command(name), *([str(self.certificate)] if secure else [])])
                self._origins[kind] = f"https://localhost:{port}" if secure else f"http://127.0.0.1:{port}"
        return self._origins[kind]

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()

    def _command(self, name: str) -> list[str]:
        if name == "node":
            return [_program("node"), str(HERE / "node.js")]
        if name == "go":
            return [str(self._built())]
        return [sys.executable, "-m", "tests.wire.servers.app", name]

    def _built(self) -> Path:
        if self._go is None:
            built = self._folder / "go-server"
            environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GO111MODULE": "on"}
            subprocess.run([_program("go"), "build", "-o", built, "main.go"], cwd=HERE, env=environment, check=True)
            self._go = built
        return self._go

    def _start(self, command: list[str]) -> int:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    def _start_nginx(self) -> None:
        program, folder = _program("nginx"), self._folder / "nginx"
        (folder / "body").mkdir(parents=True)
        for size in (0, 5, 1000, 100_000, 10_000_000, *range(7, 7 + 61 * 997, 997)):
            (folder / "body" / str(size)).write_bytes((b"0123456789abcdef" * (size // 16 + 1))[:size])
        port, secure, upstream = refused_port(), refused_port(), self.origin("httptools").rpartition(":")[2]
        text = (HERE / "nginx.conf").read_text()
        names = {
            "TLS_PORT": secure,
            "PORT": port,
            "UPSTREAM": upstream,
            "FOLDER": folder,
            "CERTIFICATE": self.certificate,
        }
        for name, value in names.items():
            text = text.replace(name, str(value))
        if os.geteuid() == 0:
            text = "user root;\n" + text  # its workers could not read the folder
        (folder / "nginx.conf").write_text(text)
        command = [program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
        self._processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for where in (port, secure):
            _wait_for(where)
        self._origins |= {"nginx": f"http://127.0.0.1:{port}", "nginx tls": f"https://localhost:{secure}"}


def _program(name: str) -> str:
    # Debian keeps servers where only administrators look.
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/go/bin")
    if program is None:
        pytest.skip(f"there is no {name} on this machine")
    return program


def _wait_for(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
