"""Headers that protect whoever gets an answer; on every answer, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.types import Scope

from .cors import CorsPolicy
from .settings import Hardening

__all__ = ["ARRIVED", "EXCHANGE", "AnswerHeaders", "Header", "Reply", "with_defaults"]

Header = tuple[bytes, bytes]
Reply = tuple[int, Sequence[Header], bytes]
"""Status, headers and body of an answer that is whole."""
EXCHANGE = "bff.exchange"
"""Where the gateway's own server (``bff_core.server``) leaves its exchange in the scope: quicker ways than ASGI's."""
ARRIVED = "bff.arrived"
"""And where it leaves the instant of ``time.monotonic`` at which a request came that had to wait for its turn."""

# An answer of a gateway is data. Whatever a browser is made to take it for, it loads nothing, runs nothing, is framed
# nowhere. "same-origin" and not "no-referrer", which would make the Origin of a page's own forms "null".
_SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# FastAPI's documentation takes its script and style from a CDN, and starts with an inline script.
_DOCS_CSP = (
    b"default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    b"style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    b"font-src https://fonts.gstatic.com; img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; "
    b"connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HSTS = b"strict-transport-security"
_NAMES = frozenset(name for name, _ in _SECURITY) | {_HSTS}


class AnswerHeaders:
    """Gives the headers that go with the answer to a request. ``docs`` are the paths of the documentation."""

    def __init__(self, hardening: Hardening, cors: CorsPolicy | None, docs: Iterable[str]) -> None:
        hsts = ((_HSTS, hardening.hsts.encode()),) if hardening.hsts else ()
        plain = _SECURITY + (hsts if hardening.behind_tls else ())
        secure = _SECURITY + hsts
        self._cors = cors
        self._docs = frozenset(docs)
        self._sets = {"http": plain, "https": secure}
        self._docs_sets = {scheme: _for_docs(headers) for scheme, headers in self._sets.items()}

    def __call__(self, scope: Scope) -> tuple[Header, ...]:
        """The headers for the answer to this request."""
        sets = self._docs_sets if scope["path"] in self._docs else self._sets
        headers = sets["https" if scope["scheme"] == "https" else "http"]
        if self._cors is None:
            return headers
        return headers + self._cors.answer(scope["headers"])


def with_defaults(own: Sequence[Header], defaults: Sequence[Header]) -> list[Header]:
    """``own`` and those of ``defaults`` that it does not have already; ``Vary`` and CORS headers add up."""
    for name, _ in own:
        if name in _NAMES:
            names = {name for name, _ in own}
            return [*own, *(header for header in defaults if header[0] not in names or header[0] not in _NAMES)]
    return [*own, *defaults]


def _for_docs(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    return tuple((name, _DOCS_CSP if name == b"content-security-policy" else value) for name, value in headers)
