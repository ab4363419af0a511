"""Authentication by a service of yours, asked with a sub-request (as nginx' ``auth_request``)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import structlog
from starlette.types import Scope

from ..context import Principal
from ..errors import DeclarationError, Refused, ServiceError
from ..wire import WireResponse
from .ask import MAX_CONNECTIONS, Asked
from .authenticator import header_values
from .authorizer import identity_key
from .expiring import Shared, cannot_verify
from .own_site import OwnSite
from .tenant import tenant_of

__all__ = ["ForwardAuth", "principal_from_headers", "principal_from_json"]

log = structlog.get_logger("bff.auth")
MAX_KEPT = 4096
WIRES_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "expect"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = re.compile(rb"[\x20-\x7e]{1,512}")
_TEXT = re.compile(rb"[\x20-\x7e\x80-\xff]*")

ReadPrincipal = Callable[[WireResponse], Principal]
"""The principal that a 2xx answer tells of. Raises ``ValueError`` when it tells of none."""


@dataclass(frozen=True, slots=True)
class _Denial:
    status: int
    challenge: str | None = None


class ForwardAuth:
    """Asks the service at ``url``, with the request's headers in ``forward`` and with ``X-Original-Method`` and
    ``X-Original-URI``: 2xx lets in the principal that ``principal`` reads from the answer, 401 and 403 are the
    client's, anything else is 503, as no answer within ``timeout`` seconds.

    A request with none of the ``forward`` headers has no credentials and is not asked about. Answers are kept for
    ``ttl`` seconds (0: not at all) for identical headers, method and URI; ``original=False`` leaves out the latter two,
    for a service to which they make no difference.

    Where ``cookie`` is in ``forward``, an unsafe request with cookies that is not the site's own is a 403; pages of
    ``origins`` (``https://shop.example``) may send them as well.
    """

    def __init__(
        self,
        url: str,
        *,
        forward: Sequence[str] = ("authorization",),
        principal: ReadPrincipal | None = None,
        original: bool = True,
        ttl: float = 0.0,
        timeout: float = 1.0,
        challenge: str = "Bearer",
        scheme: dict[str, str] | None = None,
        origins: Sequence[str] = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not forward:
            raise DeclarationError("ForwardAuth(forward=...) must name at least one header: the credentials")
        if unfit := [name for name in forward if not _NAME.fullmatch(name) or name.lower() in WIRES_OWN]:
            raise DeclarationError(f"ForwardAuth(forward=...): '{unfit[0]}' cannot be forwarded")
        try:
            self._service = Asked(url, transport)
        except ValueError as error:
            raise DeclarationError(f"ForwardAuth('{url}'): {error}") from None
        self._forward = [name.lower().encode() for name in forward]
        self._site = OwnSite(self._forward, origins)
        self._read = principal or principal_from_headers()
        self.by_request = original
        self._ttl = ttl
        self._timeout = timeout
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)
        self._waiting: set[bytes] = set()
        self._answers: Shared[Principal | _Denial] = Shared(MAX_KEPT)
        self.challenge = challenge
        self.scheme = scheme or {"type": "apiKey", "in": "header", "name": forward[0]}

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``."""
        lines = [(name, value) for name in self._forward for value in header_values(scope, name)]
        if not lines:
            return None
        if not all(_TEXT.fullmatch(value) for _, value in lines):
            raise Refused(401, "header_form", challenge=self.challenge)
        self._site.check(scope)
        block = b"".join(b"%b: %b\r\n" % line for line in lines)
        if self.by_request:
            block += b"x-original-method: %b\r\nx-original-uri: %b\r\n" % (scope["method"].encode(), _uri(scope))
        key = identity_key(block)
        answer = await self._answers.get(key, lambda: self._in_turn(key, block), lambda: key in self._waiting)
        if isinstance(answer, Principal):
            return answer
        if answer.status == HTTPStatus.FORBIDDEN:
            raise Refused(403, "auth_service")
        raise Refused(401, "auth_service", challenge=answer.challenge or self.challenge)

    async def aclose(self) -> None:
        """Close the connections to the service."""
        await self._answers.aclose()
        await self._service.aclose()

    async def _in_turn(self, key: bytes, block: bytes) -> tuple[Principal | _Denial, float, bool]:
        """Ask when there is a connection. Until then a question can be taken back, and nobody has had any work."""
        until = time.monotonic() + self._timeout
        self._waiting.add(key)
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
        except TimeoutError:
            log.warning("auth_service.failed", reason="no connection in time")
            raise cannot_verify() from None
        finally:
            self._waiting.discard(key)
        try:
            return await self._ask(block, max(0.0, until - time.monotonic()))
        finally:
            self._turns.release()

    async def _ask(self, block: bytes, timeout: float) -> tuple[Principal | _Denial, float, bool]:
        try:
            response = await self._service.ask("GET", block, b"", timeout)
        except ServiceError as error:
            log.warning("auth_service.failed", reason=error.kind)
            raise cannot_verify() from None
        if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            challenge = response.header(b"www-authenticate")
            told = challenge is not None and _VISIBLE.fullmatch(challenge)
            return _Denial(response.status, challenge.decode() if challenge and told else None), self._ttl, False
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            log.warning("auth_service.failed", reason=f"status {response.status}")
            raise cannot_verify()
        try:
            return self._read(response), self._ttl, True
        except (ValueError, RecursionError):
            log.warning("auth_service.failed", reason="a 2xx answer without a principal")
            raise cannot_verify() from None


def principal_from_headers(
    *, subject: str = "X-Auth-Subject", scopes: str = "X-Auth-Scopes", tenant: str = "X-Auth-Tenant"
) -> ReadPrincipal:
    """Reads the principal from headers of the answer; scopes are words with spaces or commas between, a
    tenant is at most 255 printable characters without ``|``, in UTF-8 or, where it is none, Latin-1."""
    names = [name.lower().encode() for name in (subject, scopes, tenant)]

    def read(response: WireResponse) -> Principal:
        who, may, where = [response.header(name) or b"" for name in names]
        if not who:
            raise ValueError("no subject")
        words = may.decode("latin-1").replace(",", " ").split()
        return Principal(who.decode("latin-1"), scopes=frozenset(words), tenant=tenant_of(_text(where)))

    return read


def principal_from_json(*, subject: str = "sub", scopes: str = "scope", tenant: str = "tenant") -> ReadPrincipal:
    """Reads the principal from the members of a JSON object; scopes are a list, or words with spaces between. The
    whole object is the principal's ``claims``."""

    def read(response: WireResponse) -> Principal:
        document: Any = json.loads(response.body)
        if not isinstance(document, dict) or not isinstance(document.get(subject), str) or not document[subject]:
            raise ValueError("no subject")
        may, where = document.get(scopes) or [], document.get(tenant)
        words = may.split() if isinstance(may, str) else may
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("scopes of another type")
        return Principal(document[subject], scopes=frozenset(words), tenant=tenant_of(where), claims=document)

    return read


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _uri(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or quote_from_bytes(scope["path"].encode(errors="replace")).encode()
    query: bytes = scope.get("query_string", b"")
    whole = path + b"?" + query if query else path
    # As it came (nginx' $request_uri), but nothing that could end a header.
    return quote_from_bytes(whole, safe="/?:@-._~!$&'()*+,;=%").encode()
