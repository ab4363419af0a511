"""Whether a request that bears a session's cookie is the site's own: pure."""

from __future__ import annotations

__all__ = ["FORM", "HEADER", "SAFE", "cross_site_form", "cross_site_read", "forged"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADER = b"x-csrf"
OWN = b"same-origin"
FORM = "bff.form"
"""In the scope of a request for a route that takes browsers' forms, which can have no headers of their own."""


def forged(site: bytes | None, origin: bytes | None, header: bytes | None, own: bytes) -> str | None:
    """Why an unsafe call is not to be trusted, None when it is the site's own.

    ``site`` is its ``Sec-Fetch-Site``, ``own`` our origin. A foreign page can send neither ``X-CSRF`` (that takes a
    preflight, which nobody answers), nor another ``Origin`` than its own. Without ``Sec-Fetch-Site`` and ``Origin`` it
    is refused as well: every browser sends one of them (RFC 10017 section 6.1.3.3).
    """
    if header != b"1":
        return "csrf_header"
    return cross_site_form(site, origin, own)


def cross_site_form(site: bytes | None, origin: bytes | None, own: bytes) -> str | None:
    """The same for a form, which can have no headers of its own."""
    if site is not None and site != OWN:
        return "csrf_site"
    if origin is not None and origin != own:
        return "csrf_origin"
    if site is None and origin is None:
        return "csrf_unknown"
    return None


def cross_site_read(site: bytes | None, mode: bytes | None) -> bool:
    """Whether another site reads, or probes, what is the user's. Following a link to us is neither."""
    return site in (b"cross-site", b"same-site") and mode != b"navigate"
