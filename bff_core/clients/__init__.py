"""Typed service clients: declared operations and how they are invoked."""

from .bound import BoundOperation
from .caching import ResponseCache, has_changed_nothing
from .client import ServiceClient
from .credentials import ServiceCredentials
from .flight import Flights
from .invocation import Invocation
from .operation import Operation, delete, get, patch, post, put

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
    "patch",
    "post",
    "put",
]
