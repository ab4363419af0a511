"""Serves one gateway with uvicorn."""

from __future__ import annotations

import gc
import importlib
import logging
import math
import signal
import socket
import sys
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.routing import Mount, WebSocketRoute

from ..app import Bff
from ..errors import SettingsError
from ..server import http1_protocol
from .config import HIGHEST_PORT

__all__ = ["listeners", "load", "load_app", "serve"]

log = logging.getLogger("uvicorn.error")

LISTENERS = 8
"""How many times the one socket is listened to: libuv takes a single connection from each in a turn of the event loop,
and when there is much to do, turns are long and the queue of those who want to be connected overflows."""
STARTUP_FAILURE = 3


def load_app(target: str) -> Bff:
    """The app at ``module:name``; see ``load``."""
    app = load(target, "app")
    if not isinstance(app, Bff):
        raise SettingsError(f"{target} is a {type(app).__name__}, not what create_bff gives")
    return app


def load(target: str, default: str) -> Any:
    """What is at ``module:name``; modules of the working directory are found. Raises ``SettingsError``.

    What is loaded stays: nobody looks for garbage in it, neither now nor later, when to look through all of it would be
    a pause for those who are served.
    """
    module, _, name = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    gc.disable()
    try:
        return getattr(importlib.import_module(module), name or default)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        raise SettingsError(f"there is no module '{error.name}' (looked for {target})") from None
    except AttributeError:
        raise SettingsError(f"module '{module}' has no '{name or default}'") from None
    finally:
        gc.freeze()
        gc.enable()


def serve(target: str, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in flight are finished within the app's ``shutdown_grace``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # For the time of the import, and for the end, when uvicorn repeats the signal that stopped it: a stop that was
        # asked for is a success.
        signal.signal(number, lambda *_: sys.exit(0))
    app = load_app(target)
    if app.settings.ops_port == port:
        # It would be had by whoever listens first: the operations, to everybody who may ask the gateway.
        raise SettingsError(
            f"the gateway and its operations (BFF_OPS_PORT) cannot both have port {port}; "
            f"set another one, such as BFF_OPS_PORT={port + 100 if port <= HIGHEST_PORT - 100 else port - 100}"
        )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        # Who may speak for a client is a question of the gateway's settings, not of who is on loopback.
        proxy_headers=False,
        ws="auto" if has_websockets(app) else "none",
        http=cast("Any", http1_protocol(app.settings.hardening, app.begin, app.turns)),
        timeout_graceful_shutdown=math.ceil(app.settings.shutdown_grace),
    )
    server = _Server(config)
    server.run(sockets=listeners(host, port))
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class _Server(uvicorn.Server):
    """uvicorn's, which says nothing of the sockets it is given."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
            log.info("Uvicorn running on http://%s:%d (Press CTRL+C to quit)", host, self.config.port)


def has_websockets(app: Bff) -> bool:
    """Whether there is, or may be, a route for one. What uvicorn's logger then says of each, with its query, in which
    clients put tickets for want of headers, is left out."""
    if not any(isinstance(route, (WebSocketRoute, Mount)) for route in app.routes):
        return False
    log.addFilter(_is_of_no_websocket)
    return True


def _is_of_no_websocket(record: logging.LogRecord) -> bool:
    return '"WebSocket ' not in str(record.msg)


def listeners(host: str, port: int) -> list[socket.socket]:
    """Sockets for all addresses of ``host``, each several times. Raises ``SettingsError``."""
    found: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(addresses):
            listener = socket.socket(family, socket.SOCK_STREAM)
            found.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
    except OSError as error:
        for listener in found:
            listener.close()
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return [copy for listener in found for copy in (listener, *(listener.dup() for _ in range(LISTENERS - 1)))]
