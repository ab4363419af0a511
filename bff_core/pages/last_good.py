"""The last good values of a gateway's sections: in memory, and in the Valkey that replicas share if there is one."""

from __future__ import annotations

import time
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..cache import Changes, LastGood, SharedStore, Stored, ValkeyStore
from ..clients import Operation
from ..errors import BadResponse

__all__ = ["LastGoodValues", "StaleKey"]

StaleKey = tuple[str, str, bytes]
"""Page and operation, arguments, and for whom (``auth.lasting``)."""


class LastGoodValues:
    """``memory`` is asked first; what another replica saw comes from ``remote``."""

    def __init__(self, memory: LastGood, remote: ValkeyStore | None) -> None:
        self._memory = memory
        self.remote = None if remote is None else SharedStore(remote)
        self._forgotten = Changes()
        self._adapters: dict[Operation[..., Any], TypeAdapter[Any]] = {}

    def put(
        self, key: StaleKey, value: Any, body: bytes | None, operation: Operation[..., Any], keep: float, asked: float
    ) -> None:
        """Remember ``operation``'s ``value`` for ``keep`` seconds, unless it was forgotten since it was ``asked`` for
        (an instant of ``time.monotonic``). Replicas share the ``body`` it was read from; without one, for a batch, what
        it is written as, if it can be read again."""
        if self._forgotten.since(key, asked):
            return
        size = len(body) if body is not None else len(repr(value))
        self._memory.put(key, value, size, time.monotonic())
        if self.remote is None:
            return
        if body is None:
            body = self._written(operation, value)
        if body is not None:
            name = _name(key)
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

    async def recall(self, key: StaleKey, operation: Operation[..., Any], max_age: float) -> tuple[Any, float] | None:
        """The value that another replica remembered, and its age."""
        began, name = time.monotonic(), _name(key)
        stored = await self.remote.get(name, name) if self.remote is not None else None
        if stored is None or self._forgotten.since(key, began) or time.time() - stored.stored_at > max_age:
            return None
        try:
            value = self._read(operation, stored.body)
        except (BadResponse, ValidationError):
            return None  # of another version of this gateway
        return value, max(0.0, time.time() - stored.stored_at)

    def _written(self, operation: Operation[..., Any], value: Any) -> bytes | None:
        """A model may be written otherwise than it is read; None then."""
        body = self._adapter(operation).dump_json(value, by_alias=True, round_trip=True)
        try:
            return body if self._read(operation, body) == value else None
        except ValidationError:
            return None

    def _read(self, operation: Operation[..., Any], body: bytes) -> Any:
        return operation.decode(body) if operation.batch is None else self._adapter(operation).validate_json(body)

    def _adapter(self, operation: Operation[..., Any]) -> TypeAdapter[Any]:
        adapter = self._adapters.get(operation)
        if adapter is None:
            adapter = self._adapters[operation] = TypeAdapter(operation.returns)
        return adapter

    async def aclose(self) -> None:
        """Let go of the shared store."""
        if self.remote is not None:
            await self.remote.aclose()


def _name(key: StaleKey) -> bytes:
    """Its name in the shared store, as an entry and as the target that is forgotten."""
    return repr(key).encode()
