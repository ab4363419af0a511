"""Typed service clients: declared operations and how they are invoked."""

from .bound import BoundOperation
from .caching import ResponseCache, has_changed_nothing
from .client import ServiceClient
from .credentials import ServiceCredentials
from .flight import Flights
from .invocation import Invocation
from .operation import Operation, delete, get, patch, post, put
from .simple import is_sequence, is_simple, is_text

__all__ = [
    "BoundOperation",
    "Flights",
    "Invocation",
    "Operation",
    "ResponseCache",
    "ServiceClient",
    "ServiceCredentials",
    "delete",
    "get",
    "has_changed_nothing",
    "is_sequence",
    "is_simple",
    "is_text",
    "patch",
    "post",
    "put",
]
