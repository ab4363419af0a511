"""A store for the tests, which can be made to fail at any call."""

from __future__ import annotations

from bff_core.stores import StoreUnavailable


class MemoryStore:
    """A dictionary. ``calls`` are the methods that were called; ``down`` makes every call fail, and ``fail_at`` the one
    of that number from now on, after (``lost``) or before it had an effect. ``crash`` is raised then instead."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.down = False
        self.fail_at: int | None = None
        self.lost = False
        self.crash: type[BaseException] = StoreUnavailable

    async def get(self, key: str) -> bytes | None:
        self._before("get", key)
        value = self.values.get(key)
        self._after()
        return value

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._before("put", key)
        self.values[key] = value
        self._after()

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        self._before("swap", key)
        fits = self.values.get(key) == expected
        if fits:
            self.values[key] = value
        self._after()
        return fits

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        self._before("delete", key)
        fits = key in self.values and expected in (None, self.values[key])
        if fits:
            del self.values[key]
        self._after()
        return fits

    async def aclose(self) -> None:
        pass

    def expire(self, prefix: str) -> None:
        """The time to live of these keys is over."""
        for key in [key for key in self.values if key.startswith(prefix)]:
            del self.values[key]

    def _before(self, name: str, key: str) -> None:
        self.calls.append((name, key))
        if self.down or (self.fail_at == 0 and not self.lost):
            self.fail_at = None
            raise self.crash

    def _after(self) -> None:
        if self.fail_at is not None:
            self.fail_at -= 1
            if self.fail_at < 0:
                self.fail_at = None
                raise self.crash
