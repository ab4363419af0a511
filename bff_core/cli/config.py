"""What a project runs: ``[tool.bff]`` in its pyproject.toml."""

from __future__ import annotations

import os
import shlex
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import SettingsError

__all__ = ["PORT_BASE", "Gateway", "Project", "Service", "load_project"]

PORT_BASE = 8000
LOWEST_BASE = 1024
HIGHEST_PORT = 65535
Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][\w-]*$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Server(_Table):
    port: Port

    def ports(self) -> list[int]:
        """All it listens on."""
        return [self.port]

    def moved(self, offset: int) -> Self:
        """The same, so many ports further."""
        return self.model_copy(update={"port": self.port + offset})


class Service(_Server):
    """A program that ``bff up`` starts: ``{port}`` and ``{port_base}`` in ``command`` are filled in, ``python`` is the
    running interpreter. It is up when ``GET ready`` is a 200."""

    command: str
    ready: Annotated[str, Field(pattern=r"^/\S*$")] = "/health"

    def words(self, port_base: int) -> list[str]:
        """The command, filled in and split as a shell would."""
        first, *rest = shlex.split(self.command.format(port=self.port, port_base=port_base))
        return [sys.executable if first == "python" else first, *rest]

    @field_validator("command")
    @classmethod
    def _can_be_filled_in(cls, command: str) -> str:
        try:
            words = shlex.split(command.format(port=1, port_base=1))
        except (LookupError, AttributeError, TypeError):
            raise ValueError("only {port} and {port_base} are filled in; write {{ and }} for braces") from None
        if not words:
            raise ValueError("there is no program in it")
        return command


class Gateway(_Server):
    """A gateway: where its app is (``module:name``), its port, and that of its metrics and console. ``environment`` has
    variables for it, in which ``{name}`` is the port of the service or gateway of that name; one that is set already
    stays as it is."""

    app: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    ops_port: Port | None = None
    environment: dict[str, str] = {}

    def ports(self) -> list[int]:
        """All it listens on."""
        return [self.port] if self.ops_port is None else [self.port, self.ops_port]

    def moved(self, offset: int) -> Self:
        """The same, so many ports further."""
        ops_port = None if self.ops_port is None else self.ops_port + offset
        return self.model_copy(update={"port": self.port + offset, "ops_port": ops_port})

    def variables(self, ports: Mapping[str, int]) -> dict[str, str]:
        """What tells it so, apart from its port; ``ports`` are those of the project."""
        told = {name: value.format(**ports) for name, value in self.environment.items() if name not in os.environ}
        return told if self.ops_port is None else {**told, "BFF_OPS_PORT": str(self.ops_port)}


class _Tables(_Table):  # what the file may say; where it is, it may not
    services: dict[Name, Service] = {}
    gateways: dict[Name, Gateway] = {}
    commands: dict[str, Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]] = {}

    @model_validator(mode="after")
    def _can_be_filled_in(self) -> Self:
        for name, gateway in self.gateways.items():
            for variable, value in gateway.environment.items():
                try:
                    value.format(**self.port_of())
                except (LookupError, AttributeError, TypeError, ValueError):
                    raise ValueError(
                        f"gateways.{name}.environment.{variable}: only ports by name are filled in, like {{{name}}}; "
                        "write {{ and }} for braces"
                    ) from None
        return self

    def port_of(self) -> dict[str, int]:
        """The port of each service and gateway."""
        return {name: entry.port for name, entry in [*self.services.items(), *self.gateways.items()]}

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        if twice := self.services.keys() & self.gateways.keys():
            raise ValueError(f"'{min(twice)}' is a service and a gateway; give one of them another name")
        entries: list[tuple[str, _Server]] = [*self.services.items(), *self.gateways.items()]
        owners = [(name, port) for name, entry in entries for port in entry.ports()]
        for port, count in Counter(port for _, port in owners).items():
            if count > 1:
                names = " and ".join(name for name, owned in owners if owned == port)
                raise ValueError(f"{names} have the same port, {port}")
        return self


class Project(_Tables):
    """Everything a project runs, the commands it adds to ``bff`` (``module:function``), and the folder they run in."""

    root: Path = Path()

    def moved(self, port_base: int) -> Self:
        """The same with every port moved by as much as ``port_base`` is from 8000. Raises ``SettingsError``."""
        offset = port_base - PORT_BASE
        entries: list[_Server] = [*self.services.values(), *self.gateways.values()]
        ports = [port for entry in entries for port in entry.ports()] or [PORT_BASE]
        if min(ports) + offset < 1 or max(ports) + offset > HIGHEST_PORT:
            low, high = max(LOWEST_BASE, 1 + PORT_BASE - min(ports)), HIGHEST_PORT + PORT_BASE - max(ports)
            raise SettingsError(
                f"--port-base {port_base} moves a port out of 1 to {HIGHEST_PORT}; give {low} to {high}"
            )
        return self.model_copy(
            update={"services": _moved(self.services, offset), "gateways": _moved(self.gateways, offset)}
        )

    def service_urls(self) -> dict[str, str]:
        """The environment variables that tell a gateway where the services are."""
        return {
            f"BFF_SERVICES__{name.replace('-', '_').upper()}__URL": f"http://127.0.0.1:{service.port}"
            for name, service in self.services.items()
        }

    def variables(self, name: str) -> dict[str, str]:
        """What tells the gateway ``name`` where everything is; what the environment says already stays as it is."""
        urls = {variable: url for variable, url in self.service_urls().items() if variable not in os.environ}
        return urls | self.gateways[name].variables(self.port_of())

    def enter(self) -> None:
        """Work in its folder from now on: relative paths begin and modules are found there, wherever one called."""
        os.chdir(self.root)
        sys.path.insert(0, str(Path.cwd()))


def load_project(start: Path | None = None) -> Project:
    """The project of the nearest pyproject.toml with ``[tool.bff]``, from ``start`` (the working directory) upward.

    An empty one when there is none. Raises ``SettingsError`` when it cannot be used.
    """
    start = start or Path.cwd()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        try:
            if not file.is_file():
                continue
            tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool")
            if isinstance(tool, dict) and "bff" in tool:
                return Project(root=folder, **dict(_Tables.model_validate(tool["bff"])))
        except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: {error}") from None
        except ValidationError as error:
            raise SettingsError(f"{file}:\n{_lines(error)}") from None
    return Project(root=start)


AnyServer = TypeVar("AnyServer", bound=_Server)


def _moved(servers: Mapping[str, AnyServer], offset: int) -> dict[str, AnyServer]:
    return {name: server.moved(offset) for name, server in servers.items()}


def _lines(error: ValidationError) -> str:
    return "\n".join(
        f"  {'.'.join(('tool', 'bff', *map(str, entry['loc'])))}: {entry['msg'].removeprefix('Value error, ')}"
        for entry in error.errors()
    )
