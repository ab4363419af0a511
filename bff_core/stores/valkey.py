"""Valkey, by its asyncio client; an extra of the framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valkey.asyncio import Valkey

__all__ = ["valkey_client"]


def valkey_client(url: str, *, connections: int) -> Valkey:
    """A client of the Valkey at ``url`` with so many connections at the most. Raises ``ImportError`` with the remedy
    when the extra is not installed, ``ValueError`` for a URL that is none."""
    try:
        from valkey.asyncio import Valkey  # noqa: PLC0415 - an extra
        from valkey.asyncio.retry import Retry  # noqa: PLC0415
        from valkey.backoff import NoBackoff  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("Valkey needs its client: pip install bff-core[valkey]") from error
    # One retry at once: a connection that the server closed while it was idle is no failure.
    client: Valkey = Valkey.from_url(
        url, max_connections=connections, retry=Retry(NoBackoff(), 1), decode_responses=False
    )
    return client
