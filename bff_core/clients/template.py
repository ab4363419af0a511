"""An operation's request, compiled once: from arguments to target, headers and body."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal
from urllib.parse import quote

from pydantic import TypeAdapter

from ..errors import Problem, UnexpectedStatus

__all__ = ["Parameter", "RequestTemplate"]

Kind = Literal["path", "query", "header", "body"]
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_FORBIDDEN_IN_HEADER = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation; ``wire_name`` is its name in the request."""

    name: str
    kind: Kind
    wire_name: str
    annotation: Any
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is REQUIRED


class RequestTemplate:
    """Renders requests of one operation. Values take the order of ``parameters``."""

    __slots__ = ("_body", "_headers", "_pieces", "_query", "_static")

    def __init__(self, path: str, parameters: Sequence[Parameter]) -> None:
        slots = {parameter.name: index for index, parameter in enumerate(parameters)}
        parts = _PLACEHOLDER.split(path)
        self._pieces: list[tuple[int, str]] = [
            (slots[name], literal) for name, literal in zip(parts[1::2], parts[2::2], strict=True)
        ]
        self._static = parts[0]
        self._query = [(i, quote(p.wire_name, safe="")) for i, p in enumerate(parameters) if p.kind == "query"]
        self._headers = [(i, p.wire_name) for i, p in enumerate(parameters) if p.kind == "header"]
        self._body: tuple[int, Callable[[Any], bytes], bool] | None = None
        for index, parameter in enumerate(parameters):
            if parameter.kind == "body":
                self._body = (index, TypeAdapter(parameter.annotation).dump_json, parameter.default is None)

    @staticmethod
    def placeholders(path: str) -> list[str]:
        """The names in ``{}`` of a path template, in order."""
        return _PLACEHOLDER.findall(path)

    def render(self, values: Sequence[Any]) -> tuple[str, bytes, bytes]:
        """Target, header block and body. Raises ``UnexpectedStatus`` 404 for a value no path segment can carry."""
        target = self._static
        for slot, literal in self._pieces:
            target += _segment(values[slot]) + literal
        if self._query:
            pairs = "&".join(
                f"{name}={_escape(_text(item))}" for slot, name in self._query for item in _items(values[slot])
            )
            if pairs:
                target = f"{target}?{pairs}"
        headers = b"".join(_header(name, values[slot]) for slot, name in self._headers)
        if self._body is None:
            return target, headers, b""
        slot, dump, optional = self._body
        value = values[slot]
        if value is None and optional:
            return target, headers, b""
        return target, headers + b"content-type: application/json\r\n", dump(value)


def _segment(value: Any) -> str:
    text = _text(value)
    if text in ("", ".", ".."):
        # Such a segment would be taken out of the path by whoever normalises it, and another resource be named.
        raise UnexpectedStatus(404)
    return _escape(text)


def _escape(text: str) -> str:
    if text.isalnum() and text.isascii():
        return text
    return quote(text, safe="-._~", errors="replace")


def _items(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    return (value,)


def _text(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, Enum):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return _text(value.value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value)


def _header(name: str, value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, (list, tuple, set, frozenset)):
        return b"".join(_header(name, item) for item in value)
    text = _text(value)
    if _FORBIDDEN_IN_HEADER.search(text):
        raise Problem(400, f"The value for the header {name} holds characters that no header can carry.")
    return f"{name}: {text.strip()}\r\n".encode("latin-1")
