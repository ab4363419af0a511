"""Where a browser may be sent after signing in: to a path of ours, to nothing else. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["HOME", "safe_return"]

HOME = "/"
LONGEST = 1024
LAYERS = 5
_VISIBLE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # what would need escaping in JSON makes cookies too large
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\xa0]")


def safe_return(value: str | None, prefix: str) -> str:
    """``value`` when it is a path of this origin, else ``/``.

    Refused is whatever some browser, proxy or router may read as another host: ``//host``, ``/\\host``, a scheme,
    controls, dots that climb, also percent-encoded, once or several times; and paths below ``prefix``, where signing in
    would lead to signing in.
    """
    if not value or len(value) > LONGEST or _VISIBLE.fullmatch(value) is None:
        return HOME
    path = re.split(r"[?#]", value, maxsplit=1)[0]
    for _ in range(LAYERS):
        if not _is_plain(path, prefix):
            return HOME
        decoded = unquote(path)
        if decoded == path:
            return value
        path = decoded
    return HOME


def _is_plain(path: str, prefix: str) -> bool:
    if not path.startswith("/") or "//" in path or "\\" in path or _CONTROL.search(path):
        return False
    if path == prefix or path.startswith(prefix + "/"):
        return False
    return not {".", ".."} & set(path.split("/"))
