"""The portal: one page, which asks the API with the key that is typed into it and keeps that nowhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

__all__ = ["portal_route"]

PAGE = (Path(__file__).parent / "portal.html").read_text(encoding="utf-8")


def _hash(element: str) -> str:
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; script-src {_hash('script')}; style-src {_hash('style')}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
}


async def portal(_: Request) -> Response:
    """The same for everybody."""
    return HTMLResponse(PAGE, headers=HEADERS)


portal_route = Route("/portal", portal, include_in_schema=False)
