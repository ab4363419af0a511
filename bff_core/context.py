"""What one request carries down to every call made for it: deadline, identity, trace, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .errors import PROBLEM_JSON, Problem, Refused
from .forwarded import TrustedProxies
from .telemetry.meters import PageMeter
from .telemetry.spans import Spans
from .telemetry.trace import read_trace

__all__ = ["PLAN_LIMITS", "Principal", "RequestContext", "background_context", "current_context", "use_context"]

PLAN_LIMITS = "plan_limits"
"""The claim with limits that a tenant has instead of its plan's: a JSON object of values by the limits' names."""


class Exchange(Protocol):
    """What the gateway's own server offers beside ASGI. ``answer`` sends a whole answer; false when it could not, and
    nothing was sent. ``when_left`` is called when the client leaves before it has its answer; ``left`` says that it
    has."""

    when_left: Callable[[], None] | None

    @property
    def left(self) -> bool: ...

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who the request is made for: a user, or a partner's application.

    ``subject`` identifies it within its ``issuer``; an empty ``tenant`` is none; ``kind`` says how it was authenticated
    (``user`` or ``api_key``). ``token`` is the access token it came with, if any, for services to which it is relayed;
    ``token_type`` is ``DPoP`` for one that is bound to the gateway's key (RFC 9449). ``whose`` marks what is kept for
    this principal (cached answers, calls to share) as its own and nobody else's.
    """

    subject: str
    kind: str = "user"
    scopes: frozenset[str] = frozenset()
    tenant: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    issuer: str | None = None
    token: str | None = field(default=None, compare=False, repr=False)
    token_type: Literal["Bearer", "DPoP"] = field(default="Bearer", compare=False)
    whose: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tenant:
            object.__setattr__(self, "tenant", None)
        # Once per principal, not per call. Sorted: every replica must come to the same bytes.
        identity = (self.kind, self.issuer, self.subject, self.tenant, sorted(self.scopes))
        object.__setattr__(self, "whose", repr(identity).encode(errors="surrogatepass"))


WriteProblem = Callable[[Problem, Any, "RequestContext"], tuple[bytes, bytes]]


def _as_document(problem: Problem, _: Any, context: RequestContext) -> tuple[bytes, bytes]:
    return problem.body(context.request_id), PROBLEM_JSON


@dataclass(slots=True)
class RequestContext:
    """One request's context. ``deadline`` is an instant of ``time.monotonic``; ``headers`` is the ready-made header
    block (``name: value`` lines, each ended by CRLF) that goes with every call to a service; ``reply_headers`` go
    with the answer, ``status`` is the answer's, 0 until it has begun; ``at_end`` is called when all is over;
    ``exchange`` is there under the gateway's own server; ``version`` names the API's, once known; ``problem_page``
    shows a problem to who is no program: its body and headers, None to leave it a document; ``visitor`` is whom a
    public page greets, which is made for nobody in particular all the same; ``write_problem`` gives body and media
    type of a problem as the version that the request (its scope) is for has them."""

    request_id: str
    trace_id: str
    span_id: str
    headers: bytes
    deadline: float
    started: float
    principal: Principal | None = None
    visitor: Principal | None = None
    degraded: dict[str, str] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    batches: dict[Any, Any] = field(default_factory=dict)
    route: str | None = None
    meter: PageMeter | None = None
    spans: Spans | None = None
    status: int = 0
    reply_headers: Sequence[tuple[bytes, bytes]] = ()
    version: str | None = None
    scope: Mapping[str, Any] | None = None
    proxies: TrustedProxies | None = None
    at_end: tuple[Callable[[], None], ...] = ()
    exchange: Exchange | None = None
    problem_page: Callable[[Any, RequestContext], tuple[bytes, list[tuple[bytes, bytes]]] | None] | None = None
    write_problem: WriteProblem = _as_document
    _client_ip: str | None = None

    @property
    def client_ip(self) -> str | None:
        """The client's address as far as it can be trusted (``BFF_TRUSTED_PROXIES``); None when it has none."""
        if self._client_ip is None and self.scope is not None and self.proxies is not None:
            peer = self.scope.get("client")
            self._client_ip = self.proxies.client_ip(peer[0] if peer else None, self.scope["headers"])
        return self._client_ip

    def remaining(self) -> float:
        """Seconds left until the deadline, negative when it has passed."""
        return self.deadline - time.monotonic()

    def authenticated(self) -> Principal:
        """The principal; raises a 401 problem when there is none."""
        if self.principal is None:
            raise Refused(401, "no_credentials")
        return self.principal


_current: ContextVar[RequestContext] = ContextVar("bff_request_context")


def current_context() -> RequestContext:
    """The context of the request being served; raises ``LookupError`` outside one."""
    return _current.get()


use_context = _current.set


@contextmanager
def background_context(seconds: float) -> Iterator[RequestContext]:
    """For work that no request has asked for, such as a task's round: a context of its own, with nobody as principal,
    in which clients may be called for so many seconds."""
    trace, started = read_trace([]), time.monotonic()
    context = RequestContext(trace.request_id, trace.trace_id, trace.span_id, trace.headers, started + seconds, started)
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
