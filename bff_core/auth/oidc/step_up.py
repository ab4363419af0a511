"""Asking a user who is signed in to prove it again, or better (RFC 9470)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from ...context import Principal
from ...errors import DeclarationError, Refused

__all__ = ["LOGIN", "SIGN_IN", "STEP_UP", "step_up"]

LOGIN = "/auth/login"
SIGN_IN = "urn:problem-type:bff:sign-in"
STEP_UP = "urn:problem-type:bff:step-up"


def step_up(
    *,
    max_age: int | None = None,
    acr_values: Sequence[str] = (),
    leeway: float = 30,
    clock: Callable[[], float] = time.time,
) -> Callable[[Principal], bool]:
    """A policy for ``allow=``: the user proved who they are within ``max_age`` seconds (the claim ``auth_time``), in
    one of the ways of ``acr_values`` (the claim ``acr``). Who did not gets a 401 problem of the type
    ``urn:problem-type:bff:step-up``, whose ``login`` is where they can.
    """
    if max_age is None and not acr_values:
        raise DeclarationError("step_up() needs max_age, acr_values, or both")
    if isinstance(acr_values, str):
        raise DeclarationError(f"acr_values='{acr_values}' is one text; give a list: acr_values=['{acr_values}']")
    wanted = {} if max_age is None else {"max_age": str(max_age)}
    if acr_values:
        wanted["acr_values"] = " ".join(acr_values)
    asked = "".join(f', {name}="{value}"' for name, value in wanted.items())
    challenge = f'Bearer error="insufficient_user_authentication"{asked}'
    login = f"{LOGIN}?{urlencode(wanted)}"

    def allow(principal: Principal) -> bool:
        at, acr = principal.claims.get("auth_time"), principal.claims.get("acr")
        recent = isinstance(at, int | float) and clock() - at <= (max_age or 0) + leeway
        if (max_age is None or recent) and (not acr_values or acr in acr_values):
            return True
        refused = Refused(401, "step_up", challenge=challenge)
        refused.extensions = {"type": STEP_UP, "login": login}
        raise refused

    return allow
