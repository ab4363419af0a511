"""Secrets stay out of the logs, wherever they turn up: under a telling name, or inside a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from structlog.typing import EventDict, WrappedLogger

__all__ = ["REDACTED", "redact", "redact_path", "redact_text"]

REDACTED = "[redacted]"
DEEPEST = 12
LONGEST = 2048
TRACEBACK = "Traceback (most recent call last)"
LONGEST_TRACEBACK = 32 * 1024
LONGEST_PATH = 256

_WORDS = r"""(?:access|refresh|id|auth|csrf|xsrf|bearer|session)?[_-]?tokens?|passwords?|passwd|passphrase|pwd|
    (?:client|shared|webhook)?[_-]?secrets?|(?:x[_-])?(?:api|access|private|secret|signing|encryption)[_-]?keys?|
    (?:proxy[_-])?authori[sz]ation|(?:set[_-])?cookies?\d?|credentials?|signature|session[_-]?id|sid|jwt|
    client[_-]assertion|code[_-]verifier|otp|pin"""
_SUFFIX = r"(?:[._-](?:hash|value|file|text))?"
_SECRET_NAME = re.compile(rf"(?:.*[._-])?(?:{_WORDS}){_SUFFIX}", re.VERBOSE | re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# What stands before the word (user_password) needs no reading; a hostile text must cost no more than its length.
# The lookahead has all the words' first characters.
_NAME = rf"(?<![A-Za-z0-9])(?=[abceijoprstwx_-])(?:{_WORDS}){_SUFFIX}"
_QUOTED = r"""b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'"""
_LOOSE = re.VERBOSE | re.IGNORECASE
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
    # The user's name and password of a URL: scheme://user:password@host.
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/?#\s]*@", re.IGNORECASE), rf"\1{REDACTED}@"),
    # A header in a dump of text goes to the end of its line: cookies and credentials have several parts.
    (
        re.compile(r"(?<![A-Za-z0-9])((?:set-)?cookie2?:\s*|(?:proxy-)?authorization:\s*)[^\r\n]+", re.IGNORECASE),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"\b(Bearer|Basic|Digest|Negotiate|DPoP)(\s+)[\w+/=.~:-]{3,}", re.IGNORECASE), rf"\1\2{REDACTED}"),
    (re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]*+)*+"), REDACTED),
    # name=value in queries, forms and cookies; "name": "value" in dumps of JSON, ("name", "value") in lists of headers.
    (
        re.compile(rf"""({_NAME}['"]?\s*[=:]\s*)(?!\[redacted\])(?:{_QUOTED}|[^\s&;,"')}}\]]+)""", _LOOSE),
        rf"\1{REDACTED}",
    ),
    (re.compile(rf"""({_NAME}['"]\s*,\s*)(?:{_QUOTED})""", _LOOSE), rf"\1{REDACTED}"),
    (re.compile(r"\bbff_[A-Za-z0-9]+_[A-Za-z0-9_]{8,}"), REDACTED),
)
# What the framework itself puts into every line; no client chooses these.
_OWN = frozenset(
    {"level", "timestamp", "gateway", "method", "route", "status", "ms", "trace_id", "calls", "service", "operation"}
)


def redact(_: WrappedLogger, __: str, record: EventDict) -> EventDict:
    """A structlog processor: ``record`` without secrets, however deep they lie."""
    for name, value in record.items():
        kind = type(value)
        if kind is int or kind is float or value is None:
            continue
        if name in _OWN:
            continue
        if is_secret_name(name):
            record[name] = REDACTED
        elif kind is str:
            record[name] = redact_path(value) if name == "path" else redact_text(value)
        else:
            record[name] = _redact(value, 0)
    return record


def redact_text(text: str) -> str:
    """``text`` without the secrets in it: credentials of URLs, tokens, keys, and the values of telling names. Of a very
    long one only the beginning; of a traceback the end as well, which says what happened."""
    if len(text) > LONGEST:
        if TRACEBACK in text[:LONGEST] and len(text) <= LONGEST_TRACEBACK:
            return _ends(_without_secrets(text))
        text = f"{text[:LONGEST]}[{len(text) - LONGEST} more]"
    return _without_secrets(text)


def _ends(traceback: str) -> str:
    """Its head and its tail, cut after all secrets are out: the half of one is none that a pattern knows."""
    if len(traceback) <= LONGEST:
        return traceback
    head, tail = traceback[: LONGEST // 4], traceback[-3 * LONGEST // 4 :]
    return f"{head}[{len(traceback) - len(head) - len(tail)} more]{tail}"


def _without_secrets(text: str) -> str:
    # Every pattern needs one of these.
    if not (" " in text or "=" in text or ":" in text or "," in text or "eyJ" in text or "bff_" in text):
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_path(path: str) -> str:
    """The same for a request's path, which anybody may make long: to look through it would cost more than to answer."""
    if len(path) > LONGEST_PATH:
        path = f"{path[:LONGEST_PATH]}[{len(path) - LONGEST_PATH} more]"
    return _without_secrets(path)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret."""
    return _SECRET_NAME.fullmatch(_CAMEL.sub("_", name)) is not None


def _redact(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, (bytes, bytearray)):
        return redact_text(value.decode("utf-8", "backslashreplace"))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth >= DEEPEST:
        return REDACTED
    if isinstance(value, Mapping):
        return {
            _key(key): REDACTED if is_secret_name(_key(key)) else _redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, bytes)):  # noqa: PLR2004 - a header
        name = _key(value[0])
        return [redact_text(name), REDACTED if is_secret_name(name) else _redact(value[1], depth + 1)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redact(item, depth + 1) for item in value]
    return redact_text(str(value))


def _key(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)
