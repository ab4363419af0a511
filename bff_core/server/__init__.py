"""The server's side of HTTP/1.1, under uvicorn's server: connections with caps, read and answered without detours."""

from .caps import Caps
from .connection import Http1Protocol, http1_protocol

__all__ = ["Caps", "Http1Protocol", "http1_protocol"]
