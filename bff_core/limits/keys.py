"""Whose calls a limit counts together: the parts of a key, and how each is read off a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from starlette.requests import Request
from starlette.types import Scope

from ..context import Principal, RequestContext
from ..errors import DeclarationError
from ..forwarded import network
from .store import Key, digest

__all__ = ["KeyFunction", "KeyPart", "KeySpec", "Read", "needs_principal", "plan_of", "reader"]

KeyPart = Literal["principal", "tenant", "client_ip", "client_address", "api_key", "route"]
KeyFunction = Callable[[Request], str | None]
KeySpec = KeyPart | KeyFunction | tuple[KeyPart | KeyFunction, ...]
Read = Callable[[Scope, RequestContext], Key | None]
"""The key of a request; None when the limit is not for it."""

LONGEST = 64
_Part = Callable[[Scope, RequestContext], str | None]


def reader(spec: KeySpec, name: str, tag: str) -> Read:
    """What reads the key of the limit ``name`` off a request. Raises ``DeclarationError`` for a part there is not."""
    parts = [_part(part, name) for part in (spec if isinstance(spec, tuple) else (spec,))]
    if len(parts) == 1:
        (only,) = parts

        def read_one(scope: Scope, context: RequestContext) -> Key | None:
            value = only(scope, context)
            return None if value is None else (name, tag, value)

        return read_one

    def read(scope: Scope, context: RequestContext) -> Key | None:
        values = [part(scope, context) for part in parts]
        return None if None in values else (name, tag, *values)  # type: ignore[arg-type]  # there is no None

    return read


def needs_principal(spec: KeySpec) -> bool:
    """Whether the key can only be read after authentication. Of a function nobody knows, so it is."""
    parts = spec if isinstance(spec, tuple) else (spec,)
    return any(part not in ("client_ip", "client_address", "route") for part in parts)


def plan_of(principal: Principal | None) -> str | None:
    """The name of the principal's plan: its claim ``plan``."""
    plan = None if principal is None else principal.claims.get("plan")
    return plan if isinstance(plan, str) else None


def _part(part: KeyPart | KeyFunction, name: str) -> _Part:
    if callable(part):
        return _from_request(part, name)
    if part not in _PARTS:
        raise DeclarationError(f"limit '{name}': a key is made of {', '.join(_PARTS)} and functions, not of {part!r}")
    return _PARTS[part]


def _from_request(function: KeyFunction, name: str) -> _Part:
    def read(scope: Scope, context: RequestContext) -> str | None:  # noqa: ARG001 - the signature of a part
        value = function(Request(scope))
        if value is not None and not isinstance(value, str):
            raise TypeError(f"the key function of limit '{name}' gave a {type(value).__name__}, not a str or None")
        # What a client writes may be long, and is kept for as long as it counts.
        return value if value is None or len(value) <= LONGEST else digest((value,))

    return read


def _principal(_: Scope, context: RequestContext) -> str | None:
    return None if context.principal is None else _who(context.principal)


def _who(principal: Principal) -> str:
    return f"{principal.kind}:{principal.issuer or ''}:{principal.subject}"


def _tenant(_: Scope, context: RequestContext) -> str | None:
    principal = context.principal
    if principal is None:
        return None
    # Who belongs to no tenant is one of his own: neither unlimited nor together with the others who do not.
    tenant = principal.tenant
    return f"of {_who(principal)}" if tenant is None else f"tenant:{tenant}"


def _api_key(_: Scope, context: RequestContext) -> str | None:
    principal = context.principal
    if principal is None:
        return None
    key = principal.claims.get("key_id")
    return f"of {_who(principal)}" if key is None else f"key:{key}"


def _client_ip(_: Scope, context: RequestContext) -> str:
    return network(context.client_ip)


def _client_address(_: Scope, context: RequestContext) -> str:
    return context.client_ip or ""


def _route(_: Scope, context: RequestContext) -> str:
    return context.route or ""


_PARTS: dict[str, _Part] = {
    "principal": _principal,
    "tenant": _tenant,
    "client_ip": _client_ip,
    "client_address": _client_address,
    "api_key": _api_key,
    "route": _route,
}
