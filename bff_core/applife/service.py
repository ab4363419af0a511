"""``AppLife``: what a gateway knows of the apps in people's hands."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from pydantic import BaseModel
from starlette.types import Scope

from ..context import RequestContext
from ..errors import DeclarationError
from .definitions import Definitions
from .flags import Evaluated, Subject, evaluate_all
from .gate import Update, Verdict, decide
from .push import PushTokens
from .source import DefinitionsFile
from .version import HEADER, parse_app

__all__ = ["AppLife", "AppState", "app_state"]

log = structlog.get_logger("bff.applife")
MOST_KNOWN = 1024
LONGEST = 128
VARY = (b"vary", b"App-Version")
Headers = tuple[tuple[bytes, bytes], ...]


class AppState(BaseModel):
    """What an app is told when it opens. ``store`` is where its update is; ``flags`` have the values that are this
    user's, ``config`` those that are everybody's."""

    update: Update
    store: str | None
    config: dict[str, Any]
    flags: dict[str, Any]


class _Known(NamedTuple):
    verdict: Verdict
    headers: Headers


class AppLife:
    """The version gate, remote configuration and feature flags that ``file`` declares (none: everybody is let in), and
    the ``push`` tokens of apps.

    Apps below their platform's minimum get a 403 problem, but at the paths of sync, of all flags, and those in
    ``reachable``. The file is looked at every ``poll`` seconds. Raises ``SettingsError`` when it cannot be used.
    """

    def __init__(
        self,
        file: str | Path | None = None,
        *,
        reachable: Collection[str] = (),
        push: PushTokens | None = None,
        poll: float = 5.0,
    ) -> None:
        self._file = DefinitionsFile(Path(file)) if file else None
        self._reachable = set(reachable)
        self._poll = poll
        self._known: dict[bytes, _Known] = {}
        self._task: asyncio.Task[None] | None = None
        self.push = push

    @property
    def definitions(self) -> Definitions:
        """Those in force."""
        return self._file.definitions if self._file is not None else _NOTHING

    def reach(self, path: str) -> None:
        """Let every app in at ``path``."""
        self._reachable.add(path)

    def enter(self, scope: Scope, context: RequestContext) -> None:
        """Tell the app what the gate says of it. Raises a 403 problem when it must be updated."""
        if not self.definitions.gate:
            return
        verdict, headers = self._judge(scope)
        context.reply_headers = (*context.reply_headers, *headers)
        if verdict.update == "required":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path not in self._reachable:
                raise verdict.problem()

    def evaluate(
        self, scope: Mapping[str, Any], context: RequestContext, key: str | None = None
    ) -> dict[str, Evaluated]:
        """Configuration and flags for who asks; ``key`` stands for who has no principal."""
        principal = context.principal
        subject = Subject(self._judge(scope).verdict.app, principal, key if principal is None else principal.subject)
        return evaluate_all(self.definitions, subject)

    def state(self, scope: Mapping[str, Any], context: RequestContext) -> AppState:
        """All that the app is told."""
        verdict, found = self._judge(scope).verdict, self.evaluate(scope, context)
        config = self.definitions.config
        return AppState(
            update=verdict.update,
            store=verdict.store if verdict.update != "none" else None,
            config=config,
            flags={key: flag.value for key, flag in found.items() if key not in config},
        )

    async def refresh(self) -> bool:
        """Look at the file now; whether other definitions are in force."""
        if self._file is None or not await self._file.refresh():
            return False
        self._known.clear()
        return True

    def start(self) -> None:
        """Look at the file from now on."""
        if self._file is not None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def aclose(self) -> None:
        """Look no more, and let go of the push tokens' store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.push is not None:
            await self.push.aclose()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            try:
                await self.refresh()
            except Exception:
                log.exception("applife.watch")

    def _judge(self, scope: Mapping[str, Any]) -> _Known:
        """What the gate says of who asks. There are few versions about, so what was said is remembered."""
        raw = b""
        for name, value in scope["headers"]:
            if name == HEADER:
                raw = value
                break
        known = self._known.get(raw)
        if known is None:
            verdict = decide(self.definitions, parse_app(raw) if raw else None)
            told = () if verdict.update == "none" else ((b"app-update", verdict.update.encode()),)
            known = _Known(verdict, (*told, VARY))
            if len(raw) <= LONGEST:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[raw] = known
        return known


_NOTHING = Definitions()


def app_state(context: RequestContext) -> AppState:
    """What the app that asks is told: for a section of a page. Raises ``DeclarationError`` when the gateway has no
    ``app_life``."""
    scope = context.scope or {}
    life = getattr(scope.get("app"), "app_life", None)
    if not isinstance(life, AppLife):
        raise DeclarationError("app_state() needs a gateway with create_bff(app_life=AppLife(...))")
    return life.state(scope, context)
