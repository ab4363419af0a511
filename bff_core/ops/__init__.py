"""The operations port: metrics, health and the console of a running gateway, never on its public port."""

from .gateway import Gateway, LimitUse
from .operations import Operations
from .server import OperationsServer

__all__ = ["Gateway", "LimitUse", "Operations", "OperationsServer"]
