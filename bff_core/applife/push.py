"""Push tokens: where an app's installations can be told "pull now"."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Annotated, Protocol

import structlog
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter

from ..context import Principal
from ..stores import KeyValueStore, StoreUnavailable, open_store
from .version import PLATFORM

__all__ = ["PushProvider", "PushToken", "PushTokens", "Registration", "TokenGone"]

log = structlog.get_logger("bff.applife")
DAY = 86_400.0
TTL = 270 * DAY  # what FCM takes for an installation that is no more
MOST_TOKENS = 20
MOST_POKES = 1000
TRIES = 8
SEND_TIMEOUT = 10.0


class PushToken(BaseModel):
    """What a push provider calls an installation. ``platform`` says whose token it is: ``ios``, ``android``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    platform: Annotated[str, StringConstraints(pattern=rf"^{PLATFORM}$")]
    token: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,4096}$")]


class Registration(PushToken):
    """An installation's token; ``seen`` is when it was last registered, in Unix seconds."""

    install: str
    seen: float


class TokenGone(Exception):
    """The provider does not know the token any more."""


class PushProvider(Protocol):
    """Whoever delivers to devices: FCM, APNs, a relay."""

    async def poke(self, token: PushToken) -> None:
        """Tell the installation to pull, without a word of what changed. Raises ``TokenGone``."""


_LIST = TypeAdapter(list[Registration])


class PushTokens:
    """The push tokens of principals, in ``store`` (its URL, or itself), for 270 days after they were last registered.

    One per installation, 20 per principal: a further one takes the place of the one not seen for longest. A token is
    one principal's: whoever registers it has the device now. ``provider`` is told of every ``poke``. ``clock`` is Unix
    time in seconds. Methods raise ``StoreUnavailable``.
    """

    def __init__(
        self,
        store: KeyValueStore | str = "memory://",
        provider: PushProvider | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = store if isinstance(store, str) else ""
        self._opened: KeyValueStore | None = None if isinstance(store, str) else store
        self._provider = provider
        self._clock = clock
        self._pokes: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, gateway: str) -> None:
        """Open the store for this gateway."""
        if self._opened is None:
            self._opened = open_store(self._url, namespace=f"{gateway}:push")

    async def register(self, principal: Principal, install: str, token: PushToken) -> None:
        """From now on ``install`` is reached by ``token``, and is this principal's."""
        owner, now = _owner(principal), self._clock()
        index = _index(token.token)
        before = await self._store.get(index)
        # From here on it is nobody else's, whatever their lists say: see _of.
        await self._store.put(index, owner.encode(), TTL)
        if before is not None and before.decode() != owner:
            await self._drop(before.decode(), lambda known: known.token == token.token)
        new = Registration(platform=token.platform, token=token.token, install=install, seen=now)

        def add(known: list[Registration]) -> list[Registration]:
            others = [one for one in known if one.install != install and one.token != token.token]
            return sorted([*others, new], key=lambda one: one.seen)[-MOST_TOKENS:]

        await self._change(owner, add)

    async def remove(self, principal: Principal, install: str) -> None:
        """Forget the installation, if it is this principal's."""
        await self._drop(_owner(principal), lambda known: known.install == install)

    async def of(self, principal: Principal) -> list[Registration]:
        """The principal's installations, those seen last at the end."""
        return await self._of(_owner(principal))

    async def gone(self, token: str) -> None:
        """The provider says that there is no such token any more."""
        owner = await self._store.get(_index(token))
        if owner is not None:
            await self._drop(owner.decode(), lambda known: known.token == token)
            await self._store.delete(_index(token), owner)

    def poke(self, principal: Principal) -> None:
        """Have the provider tell the principal's installations to pull: what ``app.sync(..., on_poke=)`` takes.

        It returns at once. Pokes that come while one is on its way are one more; beyond 1,000 principals at a time they
        are left out, for an app that hears nothing still polls.
        """
        if self._provider is None:
            return
        owner = _owner(principal)
        if owner in self._pokes:
            self._pokes[owner] = True
            return
        if len(self._pokes) >= MOST_POKES:
            log.warning("push.left_out", pokes=len(self._pokes))
            return
        self._pokes[owner] = False
        task = asyncio.get_running_loop().create_task(self._deliver(owner, self._provider))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End what is on its way, and let go of the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pokes.clear()  # of those that had not begun
        if self._opened is not None:
            await self._opened.aclose()

    @property
    def _store(self) -> KeyValueStore:
        if self._opened is None:
            raise StoreUnavailable("push tokens: the gateway that they are for is not there yet")
        return self._opened

    async def _deliver(self, owner: str, provider: PushProvider) -> None:
        try:
            again = True
            while again:
                self._pokes[owner] = False
                for registration in await self._of(owner):
                    await self._send(provider, registration)
                again = self._pokes[owner]
        except StoreUnavailable as error:
            log.warning("push.failed", error=str(error))
        finally:
            del self._pokes[owner]  # here: whoever pokes after the last look must find nothing under way

    async def _send(self, provider: PushProvider, registration: Registration) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await provider.poke(PushToken(platform=registration.platform, token=registration.token))
        except TokenGone:
            await self.gone(registration.token)
        except Exception as error:  # noqa: BLE001 - a provider may raise anything, and others wait
            log.warning("push.failed", platform=registration.platform, error=type(error).__name__)

    async def _of(self, owner: str) -> list[Registration]:
        """Those in the owner's list whose token is still the owner's. Two may register one at the same time, or a
        process may end between the two writes; what the token's own entry says counts."""
        known = self._living(await self._store.get(f"owner:{owner}"))
        return [one for one in known if await self._store.get(_index(one.token)) == owner.encode()]

    def _living(self, raw: bytes | None) -> list[Registration]:
        since = self._clock() - TTL
        return [] if raw is None else [one for one in _LIST.validate_json(raw) if one.seen > since]

    async def _drop(self, owner: str, which: Callable[[Registration], bool]) -> None:
        await self._change(owner, lambda known: [one for one in known if not which(one)])

    async def _change(self, owner: str, change: Callable[[list[Registration]], list[Registration]]) -> None:
        """Compare and set, until nobody was faster."""
        for _ in range(TRIES):
            raw = await self._store.get(f"owner:{owner}")
            known = self._living(raw)
            new = change(known)
            if new == known or await self._store.swap(f"owner:{owner}", raw, _LIST.dump_json(new), TTL):
                return
        raise StoreUnavailable("push tokens: somebody else was always faster")


def _owner(principal: Principal) -> str:
    whose = repr((principal.kind, principal.issuer, principal.subject, principal.tenant))
    return hashlib.sha256(whose.encode(errors="surrogatepass")).hexdigest()[:32]


def _index(token: str) -> str:
    return f"token:{hashlib.sha256(token.encode()).hexdigest()}"
