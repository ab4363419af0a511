"""The content security policy of a page that is made for browsers."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DeclarationError

__all__ = ["Policy"]

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


class Policy:
    """The policy of pages, each response with a nonce of its own. ``changes`` replaces directives; one that lets
    scripts in has to name the nonce, or the page's own would not run. Raises ``DeclarationError``."""

    def __init__(self, changes: Mapping[str, str]) -> None:
        directives = {**_DIRECTIVES, **changes}
        for name, value in directives.items():
            if any(character in name + value for character in ";,\r\n"):
                raise DeclarationError(f"csp: '{name} {value}' is more than one directive")
        for name in ("script-src", "script-src-elem"):
            if "'nonce-{nonce}'" not in directives.get(name, "'nonce-{nonce}'"):
                raise DeclarationError(
                    f"csp: '{name}' must keep 'nonce-{{nonce}}', by which the page's own scripts run"
                )
        self._text = "; ".join(f"{name} {value}" for name, value in directives.items())

    def header(self, nonce: str) -> tuple[bytes, bytes]:
        """The header of a response whose scripts have ``nonce``."""
        return b"content-security-policy", self._text.replace("{nonce}", nonce).encode()
