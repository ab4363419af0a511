"""Token exchange (RFC 8693): for each service a token of its own instead of the client's."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
import structlog

from ..context import Principal
from ..errors import Problem, ServiceError
from ..settings import ExchangeSettings
from .ask import Asked
from .authorizer import identity_key
from .expiring import Shared

__all__ = ["ExchangeFailed", "ExchangedToken"]

log = structlog.get_logger("bff.auth")
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type
MAX_KEPT = 4096
TIMEOUT = 2.0
MARGIN = 10.0
LONGEST = 3600.0
REFUSED_FOR = 5.0
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")  # b64token, RFC 6750 section 2.1
_CODE = re.compile(r"[a-z_]{1,40}")


class ExchangeFailed(ServiceError):
    """The token endpoint gave no token for a service, which therefore was not called."""

    page_status = 503
    kind = "exchange_failed"


class ExchangedToken:
    """``Authorization: Bearer`` with a token for ``audience``, got from the token endpoint for the client's token.

    It is kept until ten seconds before it expires (``expires_in``; not at all without that), and asked for once
    however many calls wait for it. A refusal is remembered for five seconds. Nothing goes with calls for a principal
    that came without a token. Raises ``ValueError`` when the URL is none of ours.
    """

    header = "authorization"

    def __init__(
        self,
        settings: ExchangeSettings,
        *,
        audience: str,
        scope: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._endpoint = Asked(settings.token_url, transport)
        # RFC 6749 section 2.3.1: both are form-urlencoded before they are joined.
        secret = settings.client_secret.get_secret_value()
        basic = base64.b64encode(f"{quote_plus(settings.client_id)}:{quote_plus(secret)}".encode())
        self._headers = (
            b"authorization: Basic " + basic + b"\r\n"
            b"content-type: application/x-www-form-urlencoded\r\naccept: application/json\r\n"
        )
        self._form = {
            "grant_type": GRANT,
            "subject_token_type": ACCESS_TOKEN,
            "requested_token_type": ACCESS_TOKEN,
            "audience": audience,
        }
        if scope:
            self._form["scope"] = scope
        self._audience = audience
        self._tokens: Shared[bytes | str] = Shared(MAX_KEPT) if clock is None else Shared(MAX_KEPT, clock=clock)

    def ready(self, principal: Principal) -> bytes | None:
        """See ``ServiceCredentials.ready``."""
        if principal.token is None:
            return b""
        known = self._tokens.known(identity_key(principal.token.encode()))
        return known if isinstance(known, bytes) else None

    async def obtain(self, principal: Principal) -> bytes:
        """See ``ServiceCredentials.obtain``; raises ``ExchangeFailed``."""
        token = principal.token
        if token is None:
            return b""
        try:
            answer = await self._tokens.get(identity_key(token.encode()), lambda: self._exchange(token))
        except Problem:
            raise ExchangeFailed("too many exchanges under way") from None
        if isinstance(answer, str):
            raise ExchangeFailed(answer)
        return answer

    async def aclose(self) -> None:
        """Close the connections to the token endpoint."""
        await self._tokens.aclose()
        await self._endpoint.aclose()

    async def _exchange(self, token: str) -> tuple[bytes | str, float, bool]:
        body = urlencode({**self._form, "subject_token": token}).encode()
        try:
            response = await self._endpoint.ask("POST", self._headers, body, TIMEOUT)
        except ServiceError as error:
            log.warning("exchange.failed", audience=self._audience, reason=error.kind)
            raise ExchangeFailed(error.kind) from None
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("exchange.failed", audience=self._audience, reason=f"status {response.status}")
            raise ExchangeFailed(f"status {response.status}")
        document = _object(response.body)
        if response.status != HTTPStatus.OK:
            reason = _code(document)
            log.warning("exchange.refused", audience=self._audience, status=response.status, reason=reason)
            return reason, REFUSED_FOR, False
        issued, lasts = document.get("access_token"), document.get("expires_in")
        bearer = str(document.get("token_type", "")).lower() == "bearer"
        if not isinstance(issued, str) or not bearer or not _TOKEN.fullmatch(issued):
            log.warning("exchange.failed", audience=self._audience, reason="no bearer token in the answer")
            raise ExchangeFailed("no bearer token in the answer")
        seconds = float(lasts) if isinstance(lasts, int) and not isinstance(lasts, bool) else 0.0
        return b"authorization: Bearer %b\r\n" % issued.encode("ascii"), min(seconds - MARGIN, LONGEST), True


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _code(document: dict[str, Any]) -> str:
    """The error code (RFC 6749 section 5.2). Nothing else of the answer is repeated: it may quote the token."""
    code = document.get("error")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "refused"
