"""The console's one page, and the policy under which browsers run nothing but it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

__all__ = ["CSP", "PAGE"]

PAGE = (Path(__file__).parent / "console.html").read_text(encoding="utf-8")


def _hash(element: str) -> str:
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


CSP = (
    f"default-src 'none'; script-src {_hash('script')}; style-src {_hash('style')}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
