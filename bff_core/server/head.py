"""The usual head of a request, read at a glance. What is unusual in any way is left to llhttp."""

from __future__ import annotations

import re

__all__ = ["END", "Headers", "header_fields", "plain_request"]

Headers = list[tuple[bytes, bytes]]
END = b"\r\n\r\n"

# Targets in origin form (RFC 9112 section 3.2.1) of the characters that RFC 3986 has for path and query.
_LINE = re.compile(
    rb"(GET|HEAD) (/[A-Za-z0-9._~!$&'()*+,;=:@/%-]*+)(?:\?([A-Za-z0-9._~!$&'()*+,;=:@/?%\[\]-]*+))? HTTP/1\.1\r\n"
)
# Names are tokens; values have no control character but the tab (RFC 9110 sections 5.5 and 5.6.2).
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)++\r\n")
_FIELD = re.compile(rb"([^:\r\n]++):[ \t]*+([^\r\n]*+)\r\n")
# Whoever says one of these is read by the parser that knows what to make of it.
_FRAMING = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"proxy-connection", b"upgrade", b"expect"}
)


def plain_request(data: bytes) -> tuple[str, bytes, bytes, bytes] | None:
    """Method, path, query and the block of header lines with its empty line, when ``data`` is the head of one GET or
    HEAD, whole and with nothing behind it; the header lines have not been looked at."""
    line = _LINE.match(data)
    if line is None or data.find(END, line.end() - 2) != len(data) - len(END):
        return None
    method, path, query = line.groups(b"")
    return ("GET" if method == b"GET" else "HEAD"), path, query, data[line.end() :]


def header_fields(block: bytes) -> Headers | None:
    """The fields of a ``block``, names in lower case, when none of them says how long the request or its connection
    is; None for what is unusual or wrong."""
    if not _FIELDS.fullmatch(block):
        return None
    fields = [(name.lower(), value.rstrip(b" \t")) for name, value in _FIELD.findall(block)]
    for name, value in fields:
        if name in _FRAMING and not (name == b"connection" and value.lower() == b"keep-alive"):
            return None
    return fields
