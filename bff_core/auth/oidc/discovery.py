"""What an OpenID Provider says about itself (OpenID Connect Discovery 1.0), asked for once an hour."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import structlog

from ...errors import DeclarationError, Problem, ServiceError
from ..ask import Asked
from ..jwks import JwksCache

__all__ = ["Discovery", "Provider", "no_sign_in"]

log = structlog.get_logger("bff.auth")
WELL_KNOWN = "/.well-known/openid-configuration"
TTL = 3600.0
COOLDOWN = 15.0
RETRY = 1.0
TIMEOUT = 2.0


def no_sign_in() -> Problem:
    """What is answered while the provider cannot be asked."""
    return Problem(503, "Nobody can sign in at the moment.", headers={"retry-after": "5"})


@dataclass(frozen=True, slots=True)
class Provider:
    """One publication. ``auth_methods`` are how clients may authenticate; ``names_itself`` says that its answers tell
    who it is (RFC 9207)."""

    authorization: str
    token: Asked
    jwks: JwksCache
    par: Asked | None
    revocation: Asked | None
    end_session: str | None
    auth_methods: frozenset[str]
    names_itself: bool


class Discovery:
    """The provider at ``issuer``. What it said goes on being used while it does not answer.

    Over TLS, as everything that it points to; ``http`` is for a provider that is on ``http`` itself. Raises
    ``DeclarationError`` when ``issuer`` is no issuer.
    """

    def __init__(
        self,
        issuer: str,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._transport = transport
        self._clock = clock
        self._asked: dict[str, Asked] = {}
        self._jwks: dict[str, JwksCache] = {}
        self._provider: Provider | None = None
        self._fetched = self._tried = float("-inf")
        self._renewal: asyncio.Task[None] | None = None
        if "?" in issuer:
            raise DeclarationError("an issuer is an URL without query")
        try:
            self._document = self._at(issuer.rstrip("/") + WELL_KNOWN)
        except ValueError as error:
            raise DeclarationError(f"the issuer '{issuer}' {error}") from None

    async def provider(self) -> Provider:
        """What it says. Raises a 503 problem when it has never answered."""
        age = self._clock() - self._fetched
        if self._renewal is None and age >= TTL:
            wait = RETRY if self._provider is None else COOLDOWN
            if self._clock() - self._tried >= wait:
                self._tried = self._clock()
                self._renewal = asyncio.get_running_loop().create_task(self._fetch())
        if self._provider is None and self._renewal is not None:
            await asyncio.shield(self._renewal)
        if self._provider is None:
            raise no_sign_in()
        return self._provider

    async def aclose(self) -> None:
        """Close the connections."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        for jwks in self._jwks.values():
            await jwks.aclose()
        for asked in self._asked.values():
            await asked.aclose()

    async def _fetch(self) -> None:
        try:
            response = await self._document.ask("GET", b"accept: application/json\r\n", b"", TIMEOUT)
            if response.status != HTTPStatus.OK:
                raise ValueError(f"status {response.status}")
            self._provider = self._read(json.loads(response.body))
            self._fetched = self._clock()
        except (ServiceError, ValueError, RecursionError) as error:
            log.warning("oidc.discovery_failed", reason=str(error), kept=self._provider is not None)
        finally:
            self._renewal = None

    def _read(self, document: Any) -> Provider:
        """Raises ``ValueError``."""
        if not isinstance(document, dict) or document.get("issuer") != self.issuer:
            raise ValueError("the document is another issuer's")  # Discovery section 4.3

        def optional(name: str) -> str | None:
            value = document.get(name)
            if value is None:
                return None
            if not isinstance(value, str) or not value.startswith(("https://", self._scheme())):
                raise ValueError(f"{name} is no URL that may be used")
            return value

        def required(name: str) -> str:
            value = optional(name)
            if value is None:
                raise ValueError(f"{name} is missing")
            return value

        jwks, par, revocation = required("jwks_uri"), optional(PAR), optional("revocation_endpoint")
        if jwks not in self._jwks:
            self._jwks[jwks] = JwksCache(Asked(jwks, self._transport), lambda: None)
        methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if not isinstance(methods, list):
            raise ValueError("token_endpoint_auth_methods_supported is no list")
        return Provider(
            authorization=required("authorization_endpoint"),
            token=self._at(required("token_endpoint")),
            jwks=self._jwks[jwks],
            par=None if par is None else self._at(par),
            revocation=None if revocation is None else self._at(revocation),
            end_session=optional("end_session_endpoint"),
            auth_methods=frozenset(map(str, methods)),
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _at(self, url: str) -> Asked:
        if url not in self._asked:
            self._asked[url] = Asked(url, self._transport)
        return self._asked[url]

    def _scheme(self) -> str:
        return "http://" if self.issuer.startswith("http://") else "https://"


PAR = "pushed_authorization_request_endpoint"
