"""Custom authorizers: an async function of yours says who is asking, and its answer is kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from starlette.types import Scope

from ..context import Principal
from ..errors import DeclarationError, Refused
from .authenticator import header_values
from .expiring import Shared, cannot_verify
from .own_site import OwnSite

__all__ = ["Authorizer", "AuthorizerRequest", "identity_key"]

log = structlog.get_logger("bff.auth")
MAX_KEPT = 4096
METHOD, PATH = ":method", ":path"


@dataclass(frozen=True, slots=True)
class AuthorizerRequest:
    """What an authorizer sees: the headers named in ``identity`` by their lower-case names, and method and path if
    those are named there (else empty)."""

    headers: Mapping[str, str]
    method: str = ""
    path: str = ""


Decide = Callable[[AuthorizerRequest], Awaitable[Principal | None]]


class Authorizer:
    """Authenticates by ``decide``, an async function: the principal, or None for credentials that are not good.

    ``identity`` names the headers that are the credentials, and with ``":method"`` and ``":path"`` what else the
    answer depends on. ``decide`` sees nothing else, so an answer, which is kept for ``ttl`` seconds (good and bad ones;
    0 for never) under a digest of all of it, is never used where another would have come. A request that lacks one of
    the headers has no credentials. ``decide`` is asked once for identical requests at a time. When it fails, or takes
    longer than ``timeout`` seconds, the answer is 503: neither a 500, nor a 401 that would sign somebody out.

    Where ``cookie`` is in ``identity``, an unsafe request with cookies that is not the site's own is a 403; pages of
    ``origins`` (``https://shop.example``) may send them as well.
    """

    def __init__(
        self,
        decide: Decide,
        *,
        identity: Sequence[str] = ("authorization",),
        ttl: float = 300.0,
        timeout: float = 2.0,
        challenge: str = "Bearer",
        scheme: dict[str, str] | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        names = [name.lower() for name in identity]
        self._headers = [name.encode() for name in names if not name.startswith(":")]
        if not self._headers:
            raise DeclarationError("Authorizer(identity=...) must name at least one header: the credentials")
        if unknown := [name for name in names if name.startswith(":") and name not in (METHOD, PATH)]:
            raise DeclarationError(f"Authorizer(identity=...): '{unknown[0]}' is neither {METHOD}, nor {PATH}")
        self._site = OwnSite(self._headers, origins)
        self._decide = decide
        self._by_method, self._by_path = METHOD in names, PATH in names
        self.by_request = self._by_method or self._by_path
        self._ttl = ttl
        self._timeout = timeout
        self._answers: Shared[Principal | str] = Shared(MAX_KEPT)
        self.challenge = challenge
        self.scheme = scheme or {"type": "apiKey", "in": "header", "name": identity[0]}

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``."""
        values = [header_values(scope, name) for name in self._headers]
        if not all(values):
            return None
        if any(len(found) > 1 for found in values):
            raise Refused(401, "duplicate_credentials", challenge=self.challenge)
        self._site.check(scope)
        method = scope["method"] if self._by_method else ""
        path = scope["path"] if self._by_path else ""
        given = [found[0] for found in values]
        key = identity_key(method.encode(), path.encode(errors="surrogatepass"), *given)
        answer = self._answers.known(key)
        if answer is None:
            headers = {name.decode(): value.decode("latin-1") for name, value in zip(self._headers, given, strict=True)}
            request = AuthorizerRequest(headers, method, path)
            answer = await self._answers.get(key, lambda: self._ask(request))
        if isinstance(answer, str):
            raise Refused(401, answer, challenge=self.challenge)
        return answer

    async def aclose(self) -> None:
        """Give up what is under way."""
        await self._answers.aclose()

    async def _ask(self, request: AuthorizerRequest) -> tuple[Principal | str, float, bool]:
        try:
            async with asyncio.timeout(self._timeout):
                principal = await self._decide(request)
            if not isinstance(principal, Principal | None):
                raise TypeError("neither a Principal nor None")
        except Exception as error:  # noqa: BLE001 - the author's function may raise anything
            # Without the message and the traceback: they may quote the credentials.
            log.error("authorizer.failed", error=type(error).__name__)
            raise cannot_verify() from None
        if principal is None:
            return "authorizer", self._ttl, False
        return principal, self._ttl, True


def identity_key(*parts: bytes) -> bytes:
    """A digest of all ``parts``; no two different lists of them have the same."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()
