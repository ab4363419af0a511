"""The last good values of a gateway's sections: in memory, and in the Valkey that replicas share if there is one."""

from __future__ import annotations

import time
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..cache import Changes, LastGood, SharedStore, Stored, ValkeyStore

__all__ = ["LastGoodValues", "StaleKey"]

StaleKey = tuple[str, str, bytes]
"""Page and operation, arguments, and for whom (``auth.lasting``)."""


class LastGoodValues:
    """``memory`` is asked first; what another replica saw comes from ``remote``."""

    def __init__(self, memory: LastGood, remote: ValkeyStore | None) -> None:
        self._memory = memory
        self.remote = None if remote is None else SharedStore(remote)
        self._forgotten = Changes()
        self._adapters: dict[str, TypeAdapter[Any]] = {}

    def put(self, key: StaleKey, value: Any, size: int, returns: Any, keep: float, asked: float) -> None:
        """Remember ``value``, of the type ``returns``, for ``keep`` seconds, unless it was forgotten since it was
        ``asked`` for (an instant of ``time.monotonic``)."""
        if self._forgotten.since(key, asked):
            return
        self._memory.put(key, value, size, time.monotonic())
        if self.remote is not None:
            body, name = self._adapter(key, returns).dump_json(value), _name(key)
            stored = Stored(200, (), body, (), time.time(), 0.0, keep, 0.0, 0.0, False, False, None, None)
            self.remote.put(name, stored, keep, name, asked)

    def forget(self, key: StaleKey) -> None:
        """The service says that there is no such thing any more, or not for them."""
        self._forgotten.note(key, time.monotonic())
        self._memory.forget(key)
        if self.remote is not None:
            self.remote.forget(_name(key))
            self.remote.delete(_name(key))  # what is not for them is not kept, either

    def get(self, key: StaleKey, max_age: float) -> tuple[Any, float] | None:
        """The value in memory and its age in seconds, None when there is none or it is too old."""
        return self._memory.get(key, max_age, time.monotonic())

    async def recall(self, key: StaleKey, returns: Any, max_age: float) -> tuple[Any, float] | None:
        """The value that another replica remembered, and its age."""
        began, name = time.monotonic(), _name(key)
        stored = await self.remote.get(name, name) if self.remote is not None else None
        if stored is None or self._forgotten.since(key, began) or time.time() - stored.stored_at > max_age:
            return None
        try:
            value = self._adapter(key, returns).validate_json(stored.body)
        except ValidationError:
            return None  # of another version of this gateway
        return value, max(0.0, time.time() - stored.stored_at)

    def _adapter(self, key: StaleKey, returns: Any) -> TypeAdapter[Any]:
        adapter = self._adapters.get(key[0])
        if adapter is None:
            adapter = self._adapters[key[0]] = TypeAdapter(returns)
        return adapter

    async def aclose(self) -> None:
        """Let go of the shared store."""
        if self.remote is not None:
            await self.remote.aclose()


def _name(key: StaleKey) -> bytes:
    """Its name in the shared store, as an entry and as the target that is forgotten."""
    return repr(key).encode()
