"""Pass-through: declared routes whose requests go to a service, and whose answers come back, as streams."""

from .route import ProxyLimits, ProxyRoute, ProxyServices

__all__ = ["ProxyLimits", "ProxyRoute", "ProxyServices"]
