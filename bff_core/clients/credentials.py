"""On whose behalf a service is called: what goes with a call besides its own headers."""

from __future__ import annotations

from typing import Protocol

from ..context import Principal

__all__ = ["ServiceCredentials"]


class ServiceCredentials(Protocol):
    """How one service learns for whom it is called."""

    header: str
    """The header it sends, in lower case. No operation may send that one itself."""

    def ready(self, principal: Principal) -> bytes | None:
        """The header block to send for ``principal``; None when it must be obtained first."""

    async def obtain(self, principal: Principal) -> bytes:
        """The header block; raises ``ServiceError`` when it cannot be had."""

    async def aclose(self) -> None:
        """Free what is held."""
