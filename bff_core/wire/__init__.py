"""The wire: sends one request to one origin and gives back the answer, whatever happens in between."""

from .http1 import Http1Wire
from .httpx import HttpxWire
from .protocol import Done, Exchange, Streamed, Wire, WireResponse, header_names
from .transport import Http1Transport

__all__ = [
    "Done",
    "Exchange",
    "Http1Transport",
    "Http1Wire",
    "HttpxWire",
    "Streamed",
    "Wire",
    "WireResponse",
    "header_names",
]
