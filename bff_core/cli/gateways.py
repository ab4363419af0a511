"""The gateways of a project, as the command's other parts see them: with what ``bff up`` tells each of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ..app import Bff
from ..auth import StoredKeys
from ..errors import SettingsError
from .config import Project
from .serve import load_app

__all__ = ["ask", "environment", "load_gateway", "names_of", "usable"]

T = TypeVar("T")


def names_of(project: Project, gateway: str | None) -> list[str]:
    """The gateways that are meant: ``gateway``, which may be ``module:app``, or all of the project. Raises
    ``SettingsError`` when there is none."""
    if gateway is None and not project.gateways:
        raise SettingsError("no [tool.bff.gateways] in pyproject.toml, here or above; say which gateway: module:app")
    if gateway is not None and ":" not in gateway and gateway not in project.gateways:
        known = ", ".join(project.gateways) or "none"
        raise SettingsError(f"there is no gateway '{gateway}'; there is: {known}; or give module:app")
    return list(project.gateways) if gateway is None else [gateway]


@contextmanager
def environment(project: Project, name: str) -> Iterator[None]:
    """The environment of that gateway, until the end of the block: the next gateway has another one."""
    told = project.variables(name) if name in project.gateways else {}
    os.environ.update(told)
    try:
        yield
    finally:
        for variable in told:
            os.environ.pop(variable, None)


def load_gateway(project: Project, name: str) -> Bff:
    """The app of a gateway in its environment, or the one at ``module:app``. Raises ``SettingsError``."""
    with environment(project, name):
        return load_app(project.gateways[name].app if name in project.gateways else name)


@contextmanager
def usable(database: str) -> Iterator[None]:
    """Raises ``SettingsError`` for what says that this ``database`` cannot be used."""
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, which who has a database has
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - of the same extra

    try:
        yield
    except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        said = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise SettingsError(f"{database} cannot be used: {said}") from None


def ask(keys: StoredKeys, call: Callable[[], Awaitable[T]]) -> T:
    """What ``call`` finds in the database of ``keys``, which is closed then. Raises ``SettingsError`` when the database
    cannot be used, and what ``call`` raises."""

    async def run() -> T:
        try:
            return await call()
        finally:
            await keys.store.aclose()

    with usable("the database of the keys"):
        return asyncio.run(run())
