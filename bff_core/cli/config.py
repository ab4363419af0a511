"""What a project runs: ``[tool.bff]`` in its pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import SettingsError

__all__ = ["PORT_BASE", "Gateway", "Project", "Service", "load_project", "operations_port"]

PORT_BASE = 8000
Port = Annotated[int, Field(ge=1, le=65535)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Service(_Table):
    """A program that ``bff up`` starts: ``{port}`` and ``{port_base}`` in ``command`` are filled in, ``python`` is the
    running interpreter. It is up when ``GET ready`` is a 200."""

    command: str
    port: Port
    ready: str = "/health"


class Gateway(_Table):
    """A gateway: where its app is (``module:name``), its port, and that of its metrics and console."""

    app: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    port: Port
    ops_port: Port | None = None


class Project(_Table):
    """Everything a project runs, and the commands it adds to ``bff`` (``module:function``)."""

    services: dict[str, Service] = {}
    gateways: dict[str, Gateway] = {}
    commands: dict[str, Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]] = {}


def operations_port(gateway: Gateway, offset: int) -> dict[str, str]:
    """What moves a gateway's operations port with its other one: a variable of its environment."""
    return {} if gateway.ops_port is None else {"BFF_OPS_PORT": str(gateway.ops_port + offset)}


def load_project(start: Path | None = None) -> Project:
    """The project of the nearest pyproject.toml with ``[tool.bff]``, from ``start`` (the working directory) upward.

    An empty one when there is none. Raises ``SettingsError`` when it cannot be used.
    """
    start = start or Path.cwd()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            table = tomllib.loads(file.read_text()).get("tool", {}).get("bff")
            if table is not None:
                return Project.model_validate(table)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file}: {error}") from None
        except ValidationError as error:
            lines = [
                f"  tool.bff.{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}" for entry in error.errors()
            ]
            raise SettingsError(f"{file}:\n" + "\n".join(lines)) from None
    return Project()
