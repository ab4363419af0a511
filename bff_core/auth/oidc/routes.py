"""``/auth/…``: where browsers sign in and out, and where the provider signs them out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import Problem, Refused
from ...stores import StoreUnavailable
from ..authenticator import header_values
from ..expiring import cannot_verify
from ..jwt import BadToken
from ..sessions import cross_site_form, forged, index_names
from .discovery import no_sign_in
from .return_to import safe_return
from .sign_in import LASTS, refused

if TYPE_CHECKING:
    from .oidc_sessions import OidcSessions

__all__ = ["PREFIX", "Admit", "make_routes"]

log = structlog.get_logger("bff.security")
PREFIX = "/auth"
MOST_LOGINS = 4
MAX_FORM = 16 * 1024
MAX_PARAMETER = 4096
MAX_ACR_VALUES = 256  # they are kept in a cookie, with the address to return to, and there may be four of those
PROMPTS = frozenset({"login", "select_account", "consent", "create"})
NO_STORE = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
_SECONDS = re.compile(r"[0-9]{1,9}")
_ACR_VALUES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")


Serve = Callable[[Request], Awaitable[Response]]
Admit = Callable[[Request], Awaitable[None]]
"""Lets a request in, or raises a problem."""


def make_routes(sessions: OidcSessions, admit: Admit) -> list[Route]:
    """The routes of ``sessions``; what browsers ask is asked of ``admit`` first. The provider's own call is not: it has
    one address for all of its users, and a logout that is refused is none."""

    def route(path: str, serve: Serve, method: str = "GET") -> Route:
        made = Route(PREFIX + path, serve, methods=[method], include_in_schema=False)
        made.methods = {method}  # Starlette adds HEAD to GET; a code must not be spent by it
        return made

    def admitted(serve: Serve) -> Serve:
        async def serve_admitted(request: Request) -> Response:
            await admit(request)
            return await serve(request)

        return serve_admitted

    return [
        route("/login", admitted(_Login(sessions).serve)),
        route("/callback", admitted(_Callback(sessions).serve)),
        route("/user", admitted(_User(sessions).serve)),
        route("/logout", admitted(_Logout(sessions).serve), "POST"),
        route("/backchannel-logout", _BackChannel(sessions).serve, "POST"),
    ]


class _Login:
    """Sends the browser to the provider."""

    def __init__(self, sessions: OidcSessions) -> None:
        self._sessions = sessions

    async def serve(self, request: Request) -> Response:
        """``return_to``, ``max_age``, ``acr_values`` and ``prompt`` may be asked for."""
        _check_navigation(request)
        own = self._sessions.origin.decode()
        if self._sessions.local and f"http://{request.headers.get('host')}" != own:
            # localhost and 127.0.0.1 are the same machine, but not to cookies.
            return _redirect(f"{own}{request.url.path}?{request.url.query}")
        asked = dict(request.query_params)
        max_age, acr_values, prompt = asked.get("max_age"), asked.get("acr_values", ""), asked.get("prompt")
        if max_age is not None and not _SECONDS.fullmatch(max_age):
            raise Problem(400, "max_age is a number of seconds.")
        if acr_values and not (len(acr_values) <= MAX_ACR_VALUES and _ACR_VALUES.fullmatch(acr_values)):
            raise Problem(400, "acr_values are words with a space between.")
        if prompt is not None and prompt not in PROMPTS:
            raise Problem(400, f"prompt is one of {', '.join(sorted(PROMPTS))}.")
        location, state, kept = await self._sessions.sign_in.begin(
            safe_return(asked.get("return_to"), PREFIX),
            max_age=None if max_age is None else int(max_age),
            acr_values=tuple(acr_values.split()),
            prompt=prompt,
        )
        cookies = self._sessions.cookies
        stale = [cookies.clear(name) for name in cookies.stale_logins(request.scope, MOST_LOGINS)]
        return _redirect(location, *stale, cookies.set(cookies.login(state), kept, LASTS))


class _Callback:
    """Where the provider sends the browser back to."""

    def __init__(self, sessions: OidcSessions) -> None:
        self._sessions = sessions

    async def serve(self, request: Request) -> Response:
        """Begins a session, of which the browser gets a new identifier, and sends the browser on."""
        pairs = request.query_params.multi_items()
        answer = dict(pairs)
        if len(answer) < len(pairs) or any(len(value) > MAX_PARAMETER for value in answer.values()):
            raise refused("parameters")
        sessions, state = self._sessions, answer.get("state", "")
        cookies = sessions.cookies
        name = cookies.login(state)
        begun = sessions.sign_in.begun(state, cookies.all(request.scope).get(name))
        try:
            session_id = await sessions.sign_in.finish(begun, answer)
            old = cookies.all(request.scope).get(cookies.session)
            if old is not None:
                await sessions.vault.end(old)
        except StoreUnavailable as error:
            log.warning("session.store_failed", reason=str(error))
            raise no_sign_in() from None
        return _redirect(begun.return_to, cookies.clear(name), cookies.set(cookies.session, session_id))


class _User:
    """Who is signed in, for scripts."""

    def __init__(self, sessions: OidcSessions) -> None:
        self._sessions = sessions

    async def serve(self, request: Request) -> Response:
        """Claims, and how long the session lasts yet. ``slide=false`` does not count as use."""
        slide = request.query_params.get("slide") != "false"
        session = await self._sessions.session_of(request.scope, slide=slide)
        if session is None:
            raise Refused(401, "no_credentials", challenge=self._sessions.challenge)
        left, idle = self._sessions.left(session, used=slide)
        claims = {name: value for name, value in session.claims.items() if name not in ("aud", "sid")}
        return JSONResponse({"claims": claims, "expires_in": left, "idle_in": idle}, headers=NO_STORE)


class _Logout:
    """Ends the session here, and sends the browser to the provider to end its own."""

    def __init__(self, sessions: OidcSessions) -> None:
        self._sessions = sessions

    async def serve(self, request: Request) -> Response:
        """A form gets a redirect, a script (with ``X-CSRF``) the address as ``location``."""
        site, origin, header = (
            next(iter(header_values(request.scope, name)), None) for name in (b"sec-fetch-site", b"origin", b"x-csrf")
        )
        own = self._sessions.origin
        reason = cross_site_form(site, origin, own) if header is None else forged(site, origin, header, own)
        if reason is not None:
            raise Refused(403, reason)
        cookies = self._sessions.cookies
        try:
            location = await self._sessions.sign_out(cookies.all(request.scope).get(cookies.session))
        except StoreUnavailable as error:
            log.warning("session.store_failed", reason=str(error))
            raise cannot_verify() from None
        gone = cookies.clear(cookies.session)
        if header is None:
            return _redirect(location, gone)
        return JSONResponse({"location": location}, headers={**NO_STORE, "set-cookie": gone})


class _BackChannel:
    """Where the provider says that somebody has signed out (OpenID Connect Back-Channel Logout 1.0)."""

    def __init__(self, sessions: OidcSessions) -> None:
        self._sessions = sessions

    async def serve(self, request: Request) -> Response:
        """Ends the session that the logout token names by ``sid``; without one, all of the user's."""
        form = await _read_form(request)
        sessions = self._sessions
        provider = await sessions.discovery.provider()
        try:
            token = await sessions.verifier.signed_out(form.get("logout_token", ""), provider.jwks)
        except BadToken as bad:
            raise self._refused(str(bad)) from None
        issuer, store, seen = sessions.discovery.issuer, sessions.vault.store, f"jti:{token.token_id}"
        try:
            if await store.get(seen) is not None:
                raise self._refused("replayed")
            # Marked last: a provider that met an outage can say it again, and to end what has ended does no harm.
            ended = await sessions.vault.end_all(index_names(issuer, None if token.sid else token.subject, token.sid))
            await store.put(seen, b"1", token.until - sessions.clock())
        except StoreUnavailable as error:
            log.warning("session.store_failed", reason=str(error))
            raise cannot_verify() from None
        log.info("session.signed_out_by_provider", subject=token.subject, sessions=ended)
        return Response(status_code=200, headers=NO_STORE)

    def _refused(self, reason: str) -> Problem:
        log.warning("security", kind="logout_token_refused", reason=reason)
        return Problem(400, "This is no logout token to be trusted.")


def _check_navigation(request: Request) -> None:
    """Signing in is what a user does, not a prefetch, a script or a frame."""
    headers = request.headers
    if "prefetch" in headers.get("sec-purpose", headers.get("purpose", "")):
        raise Problem(403, "Signing in does not begin with a prefetch.")
    mode, destination = headers.get("sec-fetch-mode", "navigate"), headers.get("sec-fetch-dest", "document")
    if mode != "navigate" or destination != "document":
        raise Problem(400, "Open this address in the browser's window: location.href = …, no fetch, no frame.")


async def _read_form(request: Request) -> dict[str, str]:
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        raise Problem(415, "A form is expected.")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise Problem(413, f"The form is longer than {MAX_FORM} bytes.")
    return dict(parse_qsl(body.decode("latin-1")))


def _redirect(location: str, *cookies: str) -> Response:
    response = Response(status_code=303, headers={"location": location, **NO_STORE})
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def end_session_url(endpoint: str, **parameters: Any) -> str:
    """Where the provider ends its own session (OpenID Connect RP-Initiated Logout 1.0)."""
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"
