"""The content security policy of a page that is made for browsers."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DeclarationError

__all__ = ["policy"]

_DIRECTIVES = {
    "default-src": "'none'",
    "script-src": "'nonce-{nonce}'",
    "style-src": "'self' 'nonce-{nonce}'",
    "img-src": "'self' data: https:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


def policy(changes: Mapping[str, str]) -> str:
    """The policy with ``{nonce}`` where the response's own goes. ``changes`` replaces directives; one that lets scripts
    in has to name the nonce, or the page's own would not run."""
    directives = {**_DIRECTIVES, **changes}
    for name, value in directives.items():
        if any(character in name + value for character in ";,\r\n"):
            raise DeclarationError(f"csp: '{name} {value}' is more than one directive")
    for name in ("script-src", "script-src-elem"):
        if "'nonce-{nonce}'" not in directives.get(name, "'nonce-{nonce}'"):
            raise DeclarationError(f"csp: '{name}' must keep 'nonce-{{nonce}}', by which the page's own scripts run")
    return "; ".join(f"{name} {value}" for name, value in directives.items())
