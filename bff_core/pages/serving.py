"""How a page is served: what its route says of it, and what it needs of its gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..auth import Gate, OidcSessions
from ..cache import MemoryStore
from ..clients import ServiceClient
from ..delivery import Delivery, check_cache_control
from ..errors import DeclarationError
from ..idempotency import Once
from ..limits import Criticality, Guard, Shedder
from ..telemetry import Events
from .inputs import RequestInputs
from .last_good import LastGoodValues
from .page_cache import PageCache
from .plan import Plan
from .stream import Streaming

__all__ = ["PRIVATE", "PageServices", "Serving", "page_headers"]

PRIVATE = (b"cache-control", b"private, no-store")


@dataclass(frozen=True, slots=True)
class PageServices:
    """What pages need of their gateway. ``client`` gives a class's client, bound to its service, for the named user;
    ``max_body`` is in bytes; ``memory`` is where whole pages are kept; ``delivery`` says how answers go out."""

    client: Callable[[type[ServiceClient], str], ServiceClient]
    max_body: int
    shedder: Shedder
    last_good: LastGoodValues
    events: Events
    memory: MemoryStore
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a page is served: to anybody when ``gate`` is None; each request with an Idempotency-Key once by ``once``; by
    ``streaming`` to whom that takes; a public one greets whom ``greeter`` knows. For the others see ``Bff.page``."""

    method: str
    status: int
    gate: Gate | None
    criticality: Criticality
    cache: bool
    cache_control: str | None
    compress: bool
    guard: Guard | None
    once: Once | None
    streaming: Streaming | None
    greeter: OidcSessions | None = None

    def check(self, plan: Plan, inputs: RequestInputs, *, versioned: bool) -> None:
        """Raise ``DeclarationError`` for what does not fit together."""
        if self.once is not None and (self.method == "GET" or self.gate is None):
            raise DeclarationError(
                f"{plan.name}: an Idempotency-Key is its principal's and for what is done once: "
                "not for a public page, not for GET"
            )
        if self.streaming is not None:
            kept = self.cache and not self.streaming.keeps
            for other, there in (("cache", kept), ("idempotency", self.once is not None)):
                if there:
                    raise DeclarationError(
                        f"{plan.name}: a page that is streamed is not kept whole; take {other}= away"
                    )
            if versioned:
                raise DeclarationError(f"{plan.name}: a page that is streamed has no older versions")
        if self.cache:
            PageCache.check(plan, inputs, self.method, public=self.gate is None)


def page_headers(name: str, inputs: RequestInputs, serving: Serving) -> tuple[tuple[bytes, bytes], ...]:
    """Cache-Control and Vary of a page's whole answers; raises ``DeclarationError``."""
    gate, cache_control = serving.gate, serving.cache_control
    private = gate is not None
    # Browsers send these only when they are asked to (RFC 8942); other clients may at once.
    hints = ", ".join(sorted(name for name in inputs.vary if name.startswith("sec-ch-"))).encode()
    accepts = ((b"accept-ch", hints),) if hints else ()
    if cache_control is None:
        if private:
            return (PRIVATE, *accepts)
        kept = serving.method == "GET"
    else:
        if serving.method != "GET":
            raise DeclarationError(f"{name}: only a GET page can have cache_control")
        kept = check_cache_control(cache_control, name, private=private)
    vary = inputs.vary | gate.vary if gate is not None else inputs.vary
    if serving.streaming is not None:
        vary |= {"accept"}
    headers = [] if cache_control is None else [(b"cache-control", cache_control.encode())]
    if kept and vary:
        headers.append((b"vary", ", ".join(sorted(vary)).encode()))
    return (*headers, *accepts)
