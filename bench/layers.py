"""What each layer of the edge costs, alone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bff_core import Principal, RateLimit, Settings
from bff_core.auth import Gate
from bff_core.context import RequestContext
from bff_core.forwarded import TrustedProxies
from bff_core.hardening import Admission, AnswerHeaders, Cors, CorsPolicy, HostRule
from bff_core.limits import Limiter
from bff_core.table import EndpointTable
from bff_core.telemetry import AccessLog, Events, read_trace

REPEAT = 4_000
ROUNDS = 5
PRINCIPAL = Principal("u1", scopes=frozenset({"read"}))
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"accept", b"*/*"),
    (b"accept-language", b"de"),
    (b"authorization", b"Bearer " + b"x" * 600),
]
SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "scheme": "http",
    "path": "/products/p1",
    "raw_path": b"/products/p1",
    "query_string": b"",
    "headers": HEADERS,
    "client": ("127.0.0.1", 5),
    "http_version": "1.1",
    "server": ("127.0.0.1", 8000),
    "path_params": {},
    "root_path": "",
}

Step = Callable[[], object]


class Known:
    """Everybody is known already."""

    challenge = "Bearer"

    def __init__(self) -> None:
        self.scheme: dict[str, str] = {}

    async def authenticate(self, _: Any) -> Principal:
        """The one there is."""
        return PRINCIPAL

    async def aclose(self) -> None:
        """Nothing to close."""


def layers() -> list[tuple[str, float]]:
    """Microseconds of CPU that each layer takes, the best of five rounds."""
    with contextlib.redirect_stdout(io.StringIO()):
        return asyncio.run(_measure())


async def _measure() -> list[tuple[str, float]]:
    access = AccessLog("bench", enabled=True)
    found = []
    for name, step in [*_arrival(), *_access(), *_end(access)]:
        best = float("inf")
        for _ in range(ROUNDS):
            started = time.process_time()
            for _ in range(REPEAT):
                step()
            best = min(best, (time.process_time() - started) / REPEAT * 1e6)
        access._lines.clear()
        found.append((name, best))
    return found


def _arrival() -> list[tuple[str, Step]]:
    from .peers.ours import app

    settings = Settings(services={})
    admission = Admission(settings, HostRule(settings.allowed_hosts), None)
    answers = AnswerHeaders(settings.hardening, None, ())
    crossing = AnswerHeaders(settings.hardening, CorsPolicy(Cors(origins=["https://app.example"])), ())
    table = EndpointTable(app.router.routes)

    async def nothing() -> dict[str, Any]:
        return {}

    return [
        ("request id, trace context", lambda: read_trace(HEADERS, 0)),
        ("admission: caps, path, host, framing", lambda: admission.admit(SCOPE, nothing)),
        ("security headers", lambda: answers(SCOPE)),
        ("security headers with CORS", lambda: crossing(SCOPE)),
        ("finding the page", lambda: table.find(SCOPE)),
    ]


def _access() -> list[tuple[str, Step]]:
    now = time.monotonic()
    context = RequestContext("r" * 32, "t" * 32, "s" * 16, b"", now + 100, now, PRINCIPAL)
    context.scope, context.proxies = SCOPE, TrustedProxies(())
    gate = Gate(Known(), ["read"])
    many = RateLimit("all", "1000000/second", burst=1_000_000, key="principal")
    guard = Limiter("bench", "memory://", 2.5, Events()).guard([many], private=True)
    if guard is None:
        raise AssertionError("a limit and no guard")
    entered = _driven(lambda: guard.enter(SCOPE, context, gate))

    def limited() -> None:
        context.reply_headers, context.at_end = (), ()
        entered()

    return [
        ("authentication of a known caller, scopes", _driven(lambda: gate.enter(SCOPE, context))),
        ("a rate limit in memory, authentication in it", limited),
    ]


def _end(access: AccessLog) -> list[tuple[str, Step]]:
    from .peers.ours import app

    meter = app.pages[0].direct._meter

    def logged() -> None:
        access.write("GET", "/products/p1", "/products/{product_id}", 200, 0.01, "r" * 32, "t" * 32, {"catalog": 3}, {})

    return [
        ("metrics of a page of three sections", lambda: meter.ran([2, 2, 2], [0.01, 0.02, 0.01], ())),
        ("access log line, without its writing", logged),
    ]


def _driven(make: Callable[[], Awaitable[object]]) -> Step:
    """Runs what never waits, without a loop."""

    def run() -> None:
        waiting: Any = make()
        try:
            waiting.send(None)
        except StopIteration:
            return

    return run
