"""A server of its own for the operations port, in the gateway's process and on its loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import structlog
import uvicorn
from starlette.routing import BaseRoute

from ..hardening import Hardening
from ..server import http1_protocol
from .app import OperationsApp
from .gateway import Gateway
from .pulse import Pulse

__all__ = ["OperationsServer"]

log = structlog.get_logger("bff.operations")
AGAIN = 5.0


class OperationsServer:
    """Listens on ``host`` and ``port`` (0: the system chooses). A port that is taken hinders nobody: it is asked for
    again every five seconds, so that of several workers one answers, and another one when that is gone. ``routes`` are
    served beside its own, ``allowed`` are names it is reached by."""

    def __init__(
        self,
        gateway: Gateway,
        host: str,
        port: int,
        routes: Sequence[BaseRoute] = (),
        allowed: Sequence[str] = (),
    ) -> None:
        self._gateway = gateway
        self._allowed = allowed
        self._routes = routes
        self._host = host
        self._port = port
        self._task: asyncio.Task[None] | None = None
        self._server: uvicorn.Server | None = None
        self._beating: asyncio.Task[None] | None = None
        self.address: tuple[str, int] | None = None

    async def start(self) -> None:
        """Begin, on the running loop; it listens when this returns, unless the port is taken."""
        sock = self._bind()
        if sock is None:
            log.warning("operations.taken", host=self._host, port=self._port, again_in=AGAIN)
        self._task = asyncio.get_running_loop().create_task(self._run(sock))
        await asyncio.sleep(0)  # it has its server then; whoever connects before that accepts waits in the backlog

    async def aclose(self) -> None:
        """Listen no more; streams are ended."""
        if self._task is None:
            return
        if self._beating is not None:
            self._beating.cancel()  # which ends the streams
        if self._server is None:
            self._task.cancel()
        else:
            self._server.should_exit = True
        await asyncio.gather(self._task, return_exceptions=True)
        self.address = None

    def _bind(self) -> socket.socket | None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            sock = socket.create_server((self._host, self._port), family=family)
        except OSError:
            return None
        host, port = sock.getsockname()[:2]
        self.address = (host, port)
        return sock

    async def _run(self, sock: socket.socket | None) -> None:
        while sock is None:
            await asyncio.sleep(AGAIN)
            sock = self._bind()
        pulse = Pulse(self._gateway)
        app = OperationsApp(self._gateway, pulse, self._host, self._routes, self._allowed)
        config = uvicorn.Config(
            app,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            # With time limits for heads, bodies and idleness: whoever says nothing is in nobody's way.
            http=cast("Any", http1_protocol(Hardening())),
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._beating = asyncio.get_running_loop().create_task(pulse.run())
        host, port = self.address or (self._host, self._port)
        log.info("operations", console=f"http://{f'[{host}]' if ':' in host else host}:{port}/console")
        try:
            await self._server.serve(sockets=[sock])
        except Exception:
            log.exception("operations.failed")
        finally:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            sock.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:  # signals are the public server's
        yield
