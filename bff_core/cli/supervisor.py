"""Runs a project: services first, gateways when those are ready, everything again that dies, nothing left behind."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from ..errors import SettingsError
from .config import Project
from .leash import Leash
from .processes import Child

__all__ = ["Supervisor", "port_holder", "restart_delay"]

READY_WITHIN = 60.0
TELL_AFTER = 5.0
ANSWER_WITHIN = 2.0
POLL = 0.1
FIRST_DELAY, LONGEST_DELAY, STEADY = 0.2, 5.0, 10.0
Say = Callable[[str, str], None]


class Supervisor:
    """The children of one ``bff up``, in the working directory. ``say(name, line)`` is told what they print and what
    happens to them. Raises ``SettingsError`` when ``port_base`` cannot be."""

    def __init__(self, project: Project, port_base: int, say: Say) -> None:
        project = project.moved(port_base)
        self._say = say
        self._leash = Leash()
        self._ready = {name: service.ready for name, service in project.services.items()}
        self._has_key = frozenset(self._ready)
        self._ready |= dict.fromkeys(project.gateways, "/health/ready")
        urls = project.service_urls()
        self.services = [
            Child(name, service.words(port_base), {}, service.port, say, self._leash)
            for name, service in project.services.items()
        ]
        self.gateways = [
            Child(
                name,
                _serve(gateway.app, gateway.port),
                urls | gateway.variables(project.port_of()),
                gateway.port,
                say,
                self._leash,
            )
            for name, gateway in project.gateways.items()
        ]
        self.consoles = {name: gateway.ops_port for name, gateway in project.gateways.items()}
        self._keepers: list[asyncio.Task[None]] = []

    def check_ports(self) -> None:
        """Raise ``SettingsError`` that names each port that is taken, and by whom."""
        taken = []
        for child in [*self.services, *self.gateways]:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", child.port))
                except OSError:
                    holder = port_holder(child.port)
                    taken.append(f"  {child.port} ({child.name}){f': held by {holder}' if holder else ''}")
        if taken:
            raise SettingsError(
                "these ports are taken:\n"
                + "\n".join(taken)
                + "\nstop what holds them, or move all ports by N - 8000: --port-base N"
            )

    async def start(self, progress: Callable[[str], None]) -> None:
        """Start everything in order; ``progress`` is told each name that is ready. Raises ``SettingsError`` when one
        is not ready in time or ends at once."""
        self._leash.start()
        for children in (self.services, self.gateways):
            for child in children:
                try:
                    await child.start()
                except OSError as error:
                    raise SettingsError(f"{child.name} cannot be started: {error}") from None
            try:
                async with asyncio.TaskGroup() as group:
                    for child in children:
                        group.create_task(self._until_ready(child, progress))
            except* SettingsError as errors:
                raise errors.exceptions[0] from None
            self._keepers += [asyncio.create_task(self._keep(child)) for child in children]

    async def stop(self) -> None:
        """Stop the gateways, then the services."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for children in (self.gateways, self.services):
            await asyncio.gather(*(child.stop() for child in children))
        await self._leash.stop()

    def kill(self) -> None:
        """End everything at once."""
        for child in [*self.gateways, *self.services]:
            child.kill()

    async def _until_ready(self, child: Child, progress: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        began, told = loop.time(), False
        while (answer := await self._answer(child)) != f"{HTTPStatus.OK}":
            if child.pid is None:
                raise SettingsError(f"{child.name} ended while it was starting; its last words are above")
            asked = f"GET http://127.0.0.1:{child.port}{self._ready[child.name]} must be a 200, the last answer was"
            waited = loop.time() - began
            if waited > READY_WITHIN:
                key = f'; ask for another path: ready = "/..." in [tool.bff.services.{child.name}] of pyproject.toml'
                hint = key if child.name in self._has_key else ""
                raise SettingsError(f"{child.name} was not ready within {READY_WITHIN:g} s: {asked} {answer}{hint}")
            if waited > TELL_AFTER and not told:
                told = True
                self._say(child.name, f"is waited for: {asked} {answer}")
            await asyncio.sleep(POLL)
        progress(child.name)

    async def _answer(self, child: Child) -> str:
        """The status it has when it is asked whether it is ready, or why there is none."""
        try:
            return f"{await asyncio.wait_for(_status(child.port, self._ready[child.name]), ANSWER_WITHIN)}"
        except TimeoutError:
            return f"none within {ANSWER_WITHIN:g} s"
        except OSError as error:
            return f"none ({error.strerror or error})"
        except (ValueError, IndexError):
            return "no HTTP"

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        delay, began = 0.0, loop.time()
        reason = _reason(await child.wait())
        while True:
            delay = restart_delay(delay, loop.time() - began)
            self._say(child.name, f"ended ({reason}); starting it again in {delay:.1f} s")
            await asyncio.sleep(delay)
            began = loop.time()
            try:
                await child.start()
                reason = _reason(await child.wait())
            except OSError as error:
                reason = str(error)


def restart_delay(last: float, lived: float) -> float:
    """Seconds to wait before what lived for ``lived`` seconds is started again, when the wait before that was ``last``
    (0 for none): doubled from 0.2 to 5, and from the beginning again for what was steady."""
    return FIRST_DELAY if lived > STEADY else min(max(last * 2, FIRST_DELAY), LONGEST_DELAY)


def _serve(app: str, port: int) -> list[str]:
    return [sys.executable, "-m", "bff_core.cli", "serve", app, "--port", str(port)]


def _reason(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


async def _status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        line = await reader.readline()
        return int(line.split()[1])
    finally:
        writer.close()


def port_holder(port: int) -> str | None:
    """The name and process id of who listens on ``port``, as far as /proc tells; else None."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        file = Path("/proc/net") / table
        if not file.exists():
            continue
        for line in file.read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return None
