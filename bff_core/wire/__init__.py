"""The wire: sends one request to one origin and gives back the answer, whatever happens in between."""

from .httpx import HttpxWire
from .protocol import Done, Exchange, Wire, WireResponse

__all__ = ["Done", "Exchange", "HttpxWire", "Wire", "WireResponse"]
