"""The operations port: metrics, health and the console of a running gateway, never on its public port."""

from .gateway import Gateway
from .operations import Operations, watch
from .server import OperationsServer

__all__ = ["Gateway", "Operations", "OperationsServer", "watch"]
