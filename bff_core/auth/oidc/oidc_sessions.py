"""Browser sessions over OpenID Connect: tokens stay here, the browser has a cookie that means nothing elsewhere."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import structlog
from starlette.routing import Route
from starlette.types import Scope

from ...context import Principal
from ...errors import DeclarationError, Problem, Refused, SettingsError
from ...stores import KeyValueStore, StoreUnavailable, open_store
from ..dpop import ProofKey
from ..expiring import cannot_verify
from ..sessions import (
    FORM,
    SAFE,
    Cookies,
    Grant,
    GrantEnded,
    Held,
    Refresher,
    Sealer,
    Session,
    Tokens,
    Vault,
    cross_site_form,
    cross_site_read,
    forged,
)
from .client import Client, Denied
from .discovery import Discovery
from .return_to import safe_return
from .routes import PREFIX, Admit, end_session_url, make_routes
from .settings import OidcSettings
from .sign_in import SignIn
from .step_up import LOGIN, SIGN_IN
from .tokens import TokenVerifier

__all__ = ["OidcSessions"]

log = structlog.get_logger("bff.auth")
SLIDE_EVERY = 60.0
LONGEST_WAIT = 2.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")


class OidcSessions:
    """Authenticates browsers by a session cookie, and signs them in at the provider ``issuer``.

    ``base_url`` is the origin under which browsers see the gateway (``https://shop.example``). At the provider are
    registered: to redirect to, ``base_url/auth/callback``; for back-channel logout,
    ``base_url/auth/backchannel-logout``; after signing out, ``base_url`` + ``after_logout``. The gateway is the client
    ``client_id``, with ``client_secret`` or ``client_key`` (a private key as PEM or JWK, for ``private_key_jwt``).

    Sessions are kept in ``store`` (its URL, or a store), sealed with the first of ``keys``; a session lasts ``idle``
    seconds from its last use (counted to the minute, or to half of ``idle`` where that is less), ``lifetime`` seconds
    in all, and no longer than the provider renews its tokens. ``scopes`` are asked for; without ``offline_access``, or
    what the provider calls it, a session ends with its first access token. ``parameters`` go with every authorization
    request. ``insecure_cookies`` lets a gateway on ``http://`` at this machine's own address be signed in to, for
    development.

    With ``dpop_key``, a private key as PEM or JWK that is the gateway's alone, access tokens are bound to it, and
    services to which they are relayed get a proof with each call (DPoP, RFC 9449).

    ``id_token_hint`` sends the ID token along when signing out, for a provider that will not sign out without; then it
    passes through the browser. Raises ``DeclarationError`` and ``SettingsError``.
    """

    by_request = False

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        base_url: str,
        client_secret: str | None = None,
        client_key: str | None = None,
        store: str | KeyValueStore = "memory://",
        keys: Sequence[str] = (),
        scopes: Sequence[str] = ("openid", "profile", "offline_access"),
        parameters: Mapping[str, str] | None = None,
        idle: float = 1800,
        lifetime: float = 8 * 3600,
        after_logout: str = "/",
        id_token_hint: bool = False,
        dpop_key: str | None = None,
        insecure_cookies: bool = False,
        algorithms: Sequence[str] = ALGORITHMS,
        tenant_claim: str = "tenant",
        leeway: float = 30,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.origin = _origin(base_url, insecure=insecure_cookies).encode()
        if isinstance(scopes, str) or "openid" not in scopes:
            raise DeclarationError("OidcSessions(scopes=...) is a list that has 'openid'")
        if safe_return(after_logout, PREFIX) != after_logout:
            raise DeclarationError("OidcSessions(after_logout=...) is a path of this origin")
        if store == "memory://" and not keys:
            keys = [secrets.token_hex()]  # what it seals dies with this process
        if not keys:
            raise SettingsError(
                "sessions that outlive the process need keys to be sealed with (BFF_OIDC__SESSION_KEYS)"
            )
        self.clock = clock
        self.cookies = Cookies(secure=not insecure_cookies)
        self.local = insecure_cookies
        self.discovery = Discovery(issuer, transport)
        self.verifier = TokenVerifier(issuer, client_id, algorithms, leeway=leeway, clock=clock)
        self.proofs = None if dpop_key is None else ProofKey(dpop_key, "OidcSessions(dpop_key=...)", clock)
        self._client = Client(
            self.discovery, client_id, secret=client_secret, key=client_key, clock=clock, proofs=self.proofs
        )
        self._sealer = Sealer(keys)
        self._store = store
        self._idle, self._id_token_hint = idle, id_token_hint
        self._slide_every = min(SLIDE_EVERY, idle / 2)
        self._home = self.origin.decode() + after_logout
        self._after_logout = after_logout
        self._sign_in_options: dict[str, Any] = {
            "redirect_uri": f"{self.origin.decode()}{PREFIX}/callback",
            "scopes": tuple(scopes),
            "parameters": parameters or {},
            "lasts": lifetime,
            "tenant_claim": tenant_claim,
            "keep_identity": id_token_hint,
            "clock": clock,
        }
        self.challenge = f'Cookie realm="{self.origin.decode()}", form-action="{LOGIN}"'
        self.scheme = {"type": "apiKey", "in": "cookie", "name": self.cookies.session}
        self.hint = {"type": SIGN_IN, "login": LOGIN}

    @classmethod
    def from_settings(cls, settings: OidcSettings, **further: Any) -> Self:
        """As ``settings`` say, with ``further`` arguments."""
        return cls(**{**settings.arguments(), **further})

    def mount(self, gateway: str, admit: Admit) -> list[Route]:
        """Open the store for ``gateway``; the routes it needs, each of whose requests ``admit`` lets in. Done by
        ``create_bff``."""
        store = self._store
        opened = open_store(store, namespace=f"{gateway}:sessions") if isinstance(store, str) else store
        self.vault = Vault(
            opened,
            self._sealer,
            idle=self._idle,
            clock=self.clock,
            key=None if self.proofs is None else self.proofs.thumbprint,
        )
        self.sign_in = SignIn(
            self.discovery, self._client, self.verifier, self._sealer, self.vault, **self._sign_in_options
        )
        self._refresher = Refresher(self.vault, Grant(self._renew, self._client.revoke), self.clock)
        return make_routes(self, admit)

    @property
    def provider_origin(self) -> str:
        """Where the provider is, to whose pages forms lead."""
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.discovery.issuer))

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``. Raises ``Refused`` (403) for what another site may have asked for."""
        session = await self.session_of(scope, slide=True)
        return None if session is None else session.principal

    async def visitor(self, scope: Scope) -> Principal | None:
        """Whom a public page may greet: nobody when that cannot be told, which is no reason not to show the page. Does
        not wait for the provider."""
        try:
            session = await self.session_of(scope, slide=True, wait=False)
        except Problem:
            return None
        return None if session is None else session.principal

    async def session_of(self, scope: Scope, *, slide: bool, wait: bool = True) -> Session | None:
        """The session whose cookie a request bears, None without a cookie; with tokens that are good, unless it should
        not ``wait`` for them. Raises as ``authenticate``."""
        cookie = site = mode = origin = header = None
        for name, value in scope["headers"]:
            if name == b"cookie":
                cookie = value if cookie is None else cookie + b"; " + value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"sec-fetch-mode":
                mode = value
            elif name == b"origin":
                origin = value
            elif name == b"x-csrf":
                header = value
        session_id = None if cookie is None else self.cookies.session_id(cookie)
        if session_id is None:
            return None
        if scope["method"] not in SAFE:
            own = self.origin
            reason = cross_site_form(site, origin, own) if FORM in scope else forged(site, origin, header, own)
            if reason is not None:
                raise Refused(403, reason)
        elif site is not None and cross_site_read(site, mode):
            raise Refused(403, "csrf_site")
        session = await self._living(session_id, slide=slide, wait=wait)
        if session is None:
            raise Refused(401, "session_ended", challenge=self.challenge, foreign=True)
        return session

    def left(self, session: Session, *, used: bool) -> tuple[int, int]:
        """Seconds until ``session`` is over, and until it is when nobody uses it; ``used`` says that it just was."""
        now = self.clock()
        left = session.ends - now
        # A use is written down after a while, so a promise is made for what is written.
        seen = now if used and now - session.seen >= self._slide_every else session.seen
        return int(left), int(min(left, seen + self._idle - now))

    async def sign_out(self, session_id: str | None) -> str:
        """End the session, if there is one; where to send the browser. Raises ``StoreUnavailable``."""
        held = None if session_id is None else await self.vault.read(session_id)
        if session_id is not None:
            await self.vault.end(session_id)  # also what cannot be read here: a replica with another key might
        if held is not None and held.session.refresh is not None:
            await self._client.revoke(held.session.refresh)
        try:
            provider = await self.discovery.provider()
        except Problem:
            return self._after_logout
        if held is None or provider.end_session is None:
            return self._after_logout
        parameters = {"client_id": self._client.id, "post_logout_redirect_uri": self._home}
        if self._id_token_hint and held.session.identity is not None:
            parameters["id_token_hint"] = held.session.identity
        return end_session_url(provider.end_session, **parameters)

    async def aclose(self) -> None:
        """Finish what is under way, close the connections and the store that was opened here."""
        if hasattr(self, "vault"):
            await self._refresher.aclose()
            if isinstance(self._store, str):
                await self.vault.store.aclose()
        await self.discovery.aclose()

    async def _living(self, session_id: str, *, slide: bool, wait: bool) -> Session | None:
        """The session with tokens that are good, None when it has ended. Raises a 503 problem when nobody can tell."""
        try:
            held = await self.vault.read(session_id)
        except StoreUnavailable as error:
            log.warning("session.store_failed", reason=str(error))
            raise cannot_verify() from None
        if held is None:
            return None
        session, now = held.session, self.clock()
        # What was read under another key is not what is to be written; it is renewed, which counts as a use.
        if slide and session.until and now - session.seen >= self._slide_every:
            await self._slide(session_id, held, now)
        if now >= session.renew:
            renewal = self._refresher.start(session_id)
            # Ahead of its end the old token is still good: nobody waits for the new one.
            if wait and now >= session.until:
                return await _soon(renewal)
        return session

    async def _slide(self, session_id: str, held: Held, now: float) -> None:
        try:
            await self.vault.replace(session_id, held, held.session.used(now))
        except StoreUnavailable as error:
            log.warning("session.store_failed", reason=str(error))

    async def _renew(self, refresh: str, session: Session) -> tuple[Tokens, dict[str, Any] | None]:
        try:
            return await self.sign_in.renew(refresh, session)
        except Denied as denied:
            raise GrantEnded(str(denied)) from None


async def _soon(renewal: asyncio.Task[Session | None]) -> Session | None:
    """Its result; a 503 problem when that takes long. It goes on all the same: what the provider gives must be kept."""
    try:
        async with asyncio.timeout(LONGEST_WAIT):
            return await asyncio.shield(renewal)
    except TimeoutError:
        raise cannot_verify() from None


def _origin(base_url: str, *, insecure: bool) -> str:
    url = urlsplit(base_url)
    if url.path.rstrip("/") or url.query or url.fragment or url.username or not url.hostname:
        raise DeclarationError("OidcSessions(base_url=...) is an origin: https://shop.example")
    local = url.scheme == "http" and url.hostname in LOOPBACK
    if insecure and not local:
        raise DeclarationError("insecure_cookies is for http:// at this machine's own address")
    if url.scheme != "https" and not (local and insecure):
        raise DeclarationError(
            "browsers send session cookies over TLS only: base_url is https://…; for development on http://localhost "
            "there is insecure_cookies=True"
        )
    usual = ":443" if url.scheme == "https" else ":80"
    return f"{url.scheme}://{url.netloc}".lower().removesuffix(usual)  # as browsers write it in Origin (RFC 6454)
