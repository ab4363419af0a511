"""One POST to somebody else's server: resolved, checked, and connected to what was checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address

import structlog

from ..errors import BffError, CallTimeout, ConnectFailed, ServiceError
from ..resilience.retry_after import parse_retry_after
from ..wire import Http1Wire, Streamed
from ..wire.connect import shared_ssl_context
from .addresses import Network, allowed
from .target import Target, parse_url

__all__ = ["Connector", "Outcome", "Resolve"]

log = structlog.get_logger("bff.webhooks")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host; raises ``OSError``."""

NOT_SENDABLE = "not_sendable"
"""The error of what was never sent, because of a mistake on this side."""

RESOLVERS = 32  # threads: a name server that is silent holds one for seconds
PINNED_SECONDS = 30.0
MOST_ROUTES = 1024
MOST_ADDRESSES = 3
IDLE_SECONDS = 2.0  # shorter than what servers close theirs after: a POST is not sent twice over one that was closed
DRAIN_BYTES = 16 * 1024
DRAIN_SECONDS = 2.0


class Blocked(BffError):
    """Nothing is sent there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: with a ``status``, or with an ``error`` code that says no more than whoever owns the
    endpoint may know. ``retry_after`` and ``took`` are seconds; ``body`` is how the answer begins, as sent."""

    status: int | None
    error: str = ""
    retry_after: float | None = None
    took: float = 0.0
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the webhook was taken: 2xx and nothing else."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own


@dataclass(slots=True)
class Route:
    """The connections to a target's addresses, as they were when it was looked up."""

    wires: list[Http1Wire]
    until: float


class Connector:
    """Sends webhooks to public addresses only, and to those in the networks of ``allow`` (also without TLS).

    A host is looked up, every one of its addresses checked, and what was checked is what is connected to, for half a
    minute. Redirects, proxies and cookies there are none. An attempt takes ``timeout`` seconds at the most, all
    included; of the answer's body no more than 16 KiB are read. ``connections`` are open at once for each
    endpoint. ``resolve`` and ``ssl_context`` are the system's by default.
    """

    def __init__(
        self,
        *,
        allow: Sequence[Network] = (),
        timeout: float = 15.0,
        connections: int = 8,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allow = tuple(allow)
        self._timeout = timeout
        self._connections = connections
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="bff-resolve")
        self._resolve = resolve or self._look_up
        self._context = ssl_context or shared_ssl_context()
        self._clock = clock
        self._routes: OrderedDict[tuple[str, str], Route] = OrderedDict()

    async def post(self, endpoint: str, url: str, headers: bytes, body: bytes) -> Outcome:
        """Send ``body`` to ``url``. ``headers`` is a block of lines, each ended by CRLF. Never raises but when it is
        cancelled. Endpoints share no connections."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                target = parse_url(url)
                route = await self._route(endpoint, target)
                return await self._send(route, target.path, headers, body, started)
        except Blocked as error:
            log.warning("webhook.blocked", endpoint=endpoint, reason=str(error))
            code = "not_reachable"  # in the log alone: to the owner, a name that is not there looks the same
        except TimeoutError:
            code = "timeout"
        except ServiceError as error:
            code = _code(error)
        except ValueError:
            code = NOT_SENDABLE
        return Outcome(None, code, took=time.monotonic() - started)

    async def aclose(self) -> None:
        """Close every connection."""
        routes = list(self._routes.values())
        self._routes.clear()
        for route in routes:
            for wire in route.wires:
                await wire.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _send(self, route: Route, target: str, headers: bytes, body: bytes, started: float) -> Outcome:
        failure: ServiceError | None = None
        for wire in list(route.wires):
            left = self._timeout - (time.monotonic() - started)
            try:
                async with wire.stream("POST", target, headers, body, max(left, 0.001)) as answer:
                    took = time.monotonic() - started
                    retry = next((value for name, value in answer.headers if name == b"retry-after"), None)
                    wish = parse_retry_after(retry, time.time())
                    return Outcome(answer.status, "", wish, took, await _beginning(answer))
            except ConnectFailed as error:  # nothing was sent: another of its addresses may do
                failure = error
                if len(route.wires) > 1 and route.wires[0] is wire:
                    route.wires.append(route.wires.pop(0))
        raise failure or ConnectFailed("no address")

    async def _route(self, endpoint: str, target: Target) -> Route:
        key = endpoint, f"{target.scheme}://{target.authority}"
        route = self._routes.get(key)
        now = self._clock()
        if route is not None and route.until > now:
            self._routes.move_to_end(key)
            return route
        addresses = await self._checked(target)
        if route is not None:
            _let_go(route)
        made = self._routes[key] = Route([self._wire(target, address) for address in addresses], now + PINNED_SECONDS)
        self._routes.move_to_end(key)
        while len(self._routes) > MOST_ROUTES:
            _let_go(self._routes.popitem(last=False)[1])
        return made

    async def _checked(self, target: Target) -> list[str]:
        """The addresses to connect to. One that may not be spoken to spoils the others: who answers so is testing."""
        try:
            found = [str(ip_address(target.host))]
        except ValueError:
            try:
                found = list(dict.fromkeys(await self._resolve(target.host, target.port)))
            except (OSError, UnicodeError):
                raise Blocked("the name has no address") from None
        if not found:
            raise Blocked("the name has no address")
        for address in found:
            may, excepted = allowed(address, self._allow)
            if not may:
                raise Blocked(f"{target.host} is at {address}, which is not public")
            if target.scheme == "http" and not excepted:
                raise Blocked(f"{target.host} is to be spoken to without TLS")
        return found[:MOST_ADDRESSES]

    def _wire(self, target: Target, address: str) -> Http1Wire:
        host = f"[{address}]" if ":" in address else address
        return Http1Wire(
            f"{target.scheme}://{host}:{target.port}",
            authority=target.authority,
            connect_timeout=self._timeout / MOST_ADDRESSES,
            max_body=DRAIN_BYTES,
            max_connections=self._connections,
            idle=IDLE_SECONDS,
            ssl_context=self._context,
        )

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        def ask() -> list[str]:
            return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)


async def _beginning(answer: Streamed) -> bytes:
    """What can be had of the body in little time; the status has decided already."""
    body = b""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while len(body) < DRAIN_BYTES and (piece := await answer.read()):
                body += piece
    except (ServiceError, TimeoutError):
        pass
    return body[:DRAIN_BYTES]


def _let_go(route: Route) -> None:
    for wire in route.wires:
        wire.close_idle()  # those in use close by themselves, a little after they are idle


def _code(error: ServiceError) -> str:
    if isinstance(error, CallTimeout):
        return "timeout"
    if isinstance(error, ConnectFailed):
        return "tls_failed" if error.detail.startswith(("SSL", "Certificate")) else "not_reachable"
    return "connection_lost" if error.kind == "connection_lost" else "bad_response"
