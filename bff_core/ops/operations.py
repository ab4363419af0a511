"""What watches one gateway: its view for the operations port, the port itself, the tracer."""

from __future__ import annotations

from ..settings import Settings
from ..telemetry import make_tracer
from .gateway import Gateway
from .server import OperationsServer

__all__ = ["Operations"]


class Operations:
    """``gateway.limits`` takes functions that tell the console of limits; ``server`` is None without an ``ops_port``,
    ``tracer`` without somewhere to export to."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self.gateway = gateway
        self.tracer = make_tracer(gateway.name, settings.trace_ratio)
        self.server: OperationsServer | None = None
        if settings.ops_port is not None:
            self.server = OperationsServer(gateway, settings.ops_host, settings.ops_port)

    async def start(self) -> None:
        """Begin, on the running loop."""
        if self.tracer is not None:
            self.tracer.start()
        if self.server is not None:
            await self.server.start()

    async def aclose(self) -> None:
        """End; spans that are left are exported."""
        if self.server is not None:
            await self.server.aclose()
        if self.tracer is not None:
            await self.tracer.aclose()
