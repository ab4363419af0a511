"""Pass-through: declared routes whose requests go to a service, and whose answers come back, as streams."""

from .endpoint import ProxyLimits, ProxyServices
from .route import ProxyRoute

__all__ = ["ProxyLimits", "ProxyRoute", "ProxyServices"]
