"""The types of problem documents (RFC 9457): a stable URI for each, and one page that says what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from .errors import DeclarationError

__all__ = ["PROBLEM_TYPES", "named_types", "problems_route"]

PROBLEM_TYPES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad-request", "The request is not usable: correct it."),
    401: ("unauthorized", "Credentials are missing or not valid: send a good key or token."),
    403: ("forbidden", "These credentials do not allow it: ask for the scope, or for another role."),
    404: ("not-found", "There is nothing here, or it is somebody else's."),
    405: ("method-not-allowed", "See the header Allow."),
    408: ("request-timeout", "The body did not arrive in time: send the request again."),
    409: (
        "conflict",
        "The resource is not in a state for this, or the same request is still under way: see 'detail'.",
    ),
    410: ("gone", "The version has ended: move on to one of 'supported'."),
    413: ("content-too-large", "Send less at once."),
    414: ("uri-too-long", "Send a shorter query."),
    415: ("unsupported-media-type", "Send JSON, with Content-Type: application/json."),
    421: ("misdirected-request", "This host name is not served here."),
    422: (
        "unprocessable-content",
        "Parameters are missing or not valid, see 'errors'; or an Idempotency-Key was used for another request.",
    ),
    429: (
        "too-many-requests",
        (
            "Wait for as many seconds as Retry-After says. A limit that is used up has the type quota-exceeded of "
            "IANA instead, with 'violated-policies'."
        ),
    ),
    431: ("header-fields-too-large", "Send fewer or shorter header fields."),
    500: ("internal-server-error", "A mistake of ours: quote the request id."),
    502: (
        "bad-gateway",
        "A service behind gave no usable answer: try again later; quote the request id if it goes on.",
    ),
    503: ("service-unavailable", "Try again after as many seconds as Retry-After says."),
    504: (
        "gateway-timeout",
        (
            "A service behind did not answer in time. What was to be written may have been: send it again under "
            "the same Idempotency-Key."
        ),
    ),
}
"""By status: the last part of the URI, and what to do."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Problems</title>
<meta name="viewport" content="width=device-width"><h1>Problems</h1>
<p>Errors are <a href="https://www.rfc-editor.org/rfc/rfc9457">problem documents</a>: <code>type</code> is one of the
URIs below, <code>detail</code> says what is wrong with this request, <code>instance</code> is the id of the request
(also in the header <code>X-Request-Id</code>): quote it when you ask us.
<p>A limit that is used up is
<code>https://iana.org/assignments/http-problem-types#quota-exceeded</code> (429).
<dl>{rows}</dl>"""
_HEADERS = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'", "cache-control": "max-age=3600"}


def named_types(base: str) -> dict[int, str]:
    """The type of each status, below ``base``. Raises ``DeclarationError``."""
    if not base.startswith("/") or not base.endswith("/") or len(base) < 3:  # noqa: PLR2004 - "/x/"
        raise DeclarationError(f"problem_types='{base}' must be a path such as '/problems/'")
    return {status: base + slug for status, (slug, _) in PROBLEM_TYPES.items()}


def problems_route(base: str) -> Route:
    """``base`` and everything below it is the page with all types."""
    rows = "".join(
        f'<dt id="{slug}"><code>{escape(base + slug)}</code> ({status} {escape(_phrase(status))})<dd>{escape(text)}'
        for status, (slug, text) in PROBLEM_TYPES.items()
    )
    page = _PAGE.format(rows=rows)

    async def problems(_: Request) -> Response:
        return HTMLResponse(page, headers=_HEADERS)

    return Route(f"{base}{{slug:path}}", problems, include_in_schema=False)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
