"""Typed service clients: declared operations and how they are invoked."""

from .client import ServiceClient
from .invocation import Invocation
from .operation import Operation, delete, get, patch, post, put

__all__ = ["Invocation", "Operation", "ServiceClient", "delete", "get", "patch", "post", "put"]
