"""The gateways of a project, as the command's other parts see them: with what ``bff up`` tells each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..app import Bff
from ..errors import SettingsError
from .config import Project
from .serve import load_app

__all__ = ["environment", "load_gateway", "names_of"]


def names_of(project: Project, gateway: str | None) -> list[str]:
    """The gateways that are meant: ``gateway``, or all. Raises ``SettingsError``."""
    names = list(project.gateways) if gateway is None else [gateway]
    if unknown := [name for name in names if name not in project.gateways]:
        raise SettingsError(f"there is no gateway '{unknown[0]}'; there is: {', '.join(project.gateways)}")
    return names


@contextmanager
def environment(project: Project, name: str) -> Iterator[None]:
    """The environment of that gateway, until the end of the block: the next gateway has another one."""
    told = project.variables(name)
    os.environ.update(told)
    try:
        yield
    finally:
        for variable in told:
            os.environ.pop(variable, None)


def load_gateway(project: Project, name: str) -> Bff:
    """The app of a gateway, in its environment. Raises ``SettingsError``."""
    with environment(project, name):
        return load_app(project.gateways[name].app)
