"""The framework's exceptions, one tree, and their rendering as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

__all__ = [
    "BadResponse",
    "BffError",
    "BulkheadFull",
    "CallTimeout",
    "CircuitOpen",
    "ClientDisconnected",
    "ConnectFailed",
    "ConnectionLost",
    "DeclarationError",
    "Problem",
    "Refused",
    "ServiceError",
    "SettingsError",
    "UnexpectedStatus",
]

PROBLEM_JSON = b"application/problem+json"


class BffError(Exception):
    """Base of everything this framework raises."""


class DeclarationError(BffError):
    """A client, page or gateway is declared wrongly; raised while the module that declares it is imported."""


class SettingsError(BffError):
    """The settings are not usable; the message names every offending key."""


class ClientDisconnected(BffError):
    """The client left before its request or its answer was complete; nobody is there to be answered."""


class Problem(BffError):
    """An error meant for the caller: rendered as ``application/problem+json`` (RFC 9457), never with internals.

    ``type_`` is a URI reference that identifies the kind of problem; ``extensions`` are further members of the
    document; ``headers`` are added to the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        *,
        type_: str = "about:blank",
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail or title or str(status))
        self.status = status
        self.detail = detail
        self.type = type_
        self.title = title or _phrase(status)
        self.headers = dict(headers or {})
        self.extensions = extensions

    def document(self, request_id: str | None = None) -> dict[str, Any]:
        """The problem document; ``request_id`` becomes its ``instance``."""
        document: dict[str, Any] = {"type": self.type, "title": self.title, "status": self.status}
        if self.detail is not None:
            document["detail"] = self.detail
        if request_id is not None:
            document["instance"] = f"urn:request:{request_id}"
        return {**document, **self.extensions}

    def name(self, types: Mapping[int, str] | None) -> None:
        """Give it the type that its status has in ``types``, unless it has one of its own."""
        if types is not None and self.type == "about:blank":
            self.type = types.get(self.status, self.type)

    @staticmethod
    def encode(document: Mapping[str, Any]) -> bytes:
        """``document`` as UTF-8 JSON."""
        return json.dumps(document, ensure_ascii=False, default=str).encode(errors="replace")

    def body(self, request_id: str | None = None) -> bytes:
        """The problem document as UTF-8 JSON; ``request_id`` becomes its ``instance``."""
        return self.encode(self.document(request_id))


class Refused(Problem):
    """Whoever asks is not let in (401), or may not do this (403).

    ``reason`` is a code for the security log; the client never sees it. ``challenge`` is the value of
    ``WWW-Authenticate`` (RFC 9110 section 11.6.1), by default the gateway's. ``foreign`` says that the credentials may
    be another authenticator's.
    """

    def __init__(
        self, status: Literal[401, 403], reason: str, *, challenge: str | None = None, foreign: bool = False
    ) -> None:
        super().__init__(status, _REFUSALS[status])
        self.reason = reason
        self.foreign = foreign
        self.challenge = challenge
        if challenge is not None:
            self.headers["www-authenticate"] = challenge


_REFUSALS = {401: "Credentials are missing or not valid.", 403: "This is not allowed."}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


class ServiceError(BffError):
    """A call to a service failed. ``service`` and ``operation`` name the call; neither reaches a client.

    ``page_status`` is what a page answers when one of its required sections fails so; ``retryable`` says whether a
    further attempt could help; ``retry_after`` is the service's own wish, in seconds.
    """

    page_status = 502
    retryable = False
    kind = "error"

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.service = ""
        self.operation = ""
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = f"{self.service}.{self.operation}: " if self.service else ""
        return f"{where}{self.kind}: {self.detail}" if self.detail else f"{where}{self.kind}"


class ConnectFailed(ServiceError):
    """No connection to the service could be made, so nothing was sent."""

    page_status = 503
    retryable = True
    kind = "connect_failed"


class ConnectionLost(ServiceError):
    """The connection broke before the answer was complete. ``stale``: it had been used before, and nothing of this
    answer had come."""

    page_status = 502
    retryable = True
    kind = "connection_lost"
    stale = False


class CallTimeout(ServiceError):
    """No complete answer came in time."""

    page_status = 504
    retryable = True
    kind = "timeout"


class CircuitOpen(ServiceError):
    """The service's circuit breaker is open; nothing was sent."""

    page_status = 503
    kind = "circuit_open"


class BulkheadFull(ServiceError):
    """The service's share of concurrent calls is used up; nothing was sent."""

    page_status = 503
    kind = "bulkhead_full"


class BadResponse(ServiceError):
    """The service answered something that is not what its contract says: not HTTP, not JSON, or of another shape."""

    kind = "bad_response"


class UnexpectedStatus(ServiceError):
    """The service answered with a status other than 2xx. ``body`` is what it said, at most as long as the cap."""

    kind = "unexpected_status"

    def __init__(self, status: int, body: bytes = b"", *, retry_after: float | None = None) -> None:
        super().__init__(str(status), retry_after=retry_after)
        self.status = status
        self.body = body
        self.retryable = status in RETRYABLE_STATUSES
        self.page_status = status if status in (404, 503) else 504 if status == HTTPStatus.GATEWAY_TIMEOUT else 502


RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
