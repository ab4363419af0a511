"""The ``bff`` command."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import BffError, SettingsError
from ..pages import PageRoute
from ..pages.graph import mermaid, svg
from ..resilience.layers import leaves
from .config import HIGHEST_PORT, LOWEST_BASE, PORT_BASE, Project, load_project
from .dispatch import dispatch
from .gateways import environment, load_gateway, names_of
from .partners import partners
from .serve import serve
from .tables import print_table
from .up import up
from .versions import versions_table

__all__ = ["main"]

PortBase = Annotated[
    int,
    typer.Option(
        help="Moves every port by this minus 8000: 18000 makes 8001 into 18001.", min=LOWEST_BASE, max=HIGHEST_PORT
    ),
]
app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run and look into Backends-for-Frontends.")
app.add_typer(partners, name="partners")
console = Console()
INTERRUPTED = 130


@app.command("up")
def up_command(
    once: Annotated[bool, typer.Option("--once", help="Stop after the tour; the exit status is the tour's.")] = False,
    port_base: PortBase = PORT_BASE,
) -> None:
    """Start the services and the gateways, take the tour, keep running."""
    project = load_project()
    if not project.gateways:
        raise SettingsError("no [tool.bff.gateways] in pyproject.toml, here or above")
    raise typer.Exit(asyncio.run(up(project, port_base, once=once)))


@app.command("serve")
def serve_command(
    gateway: Annotated[str, typer.Argument(help="A gateway of the project, or module:app.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port; the gateway's own by default.", min=1, max=HIGHEST_PORT)
    ] = None,
    port_base: PortBase = PORT_BASE,
) -> None:
    """Serve one gateway."""
    target, own = gateway, port_base
    if ":" not in gateway:
        project = load_project().moved(port_base)
        if gateway not in project.gateways:
            known = ", ".join(project.gateways) or "none"
            raise SettingsError(f"there is no gateway '{gateway}' (there is: {known}); or give module:app")
        project.enter()
        moved = project.gateways[gateway]
        target, own = moved.app, port or moved.port
        project.gateways[gateway] = moved.model_copy(update={"port": own})
        os.environ.update(project.variables(gateway))
    serve(target, host, port or own)


@app.command("dispatch")
def dispatch_command(
    webhooks: Annotated[str, typer.Argument(help="The webhooks to deliver, as module:name.")],
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Deliver webhooks in a process of its own; as many as you like."""
    dispatch(webhooks, log_level)


@app.command()
def pages(gateway: Annotated[str | None, typer.Argument(help="Only this gateway, or module:app.")] = None) -> None:
    """Show every page with its sections and what they depend on."""
    for name, routes in _pages(load_project(), gateway).items():
        table = Table("page", "section", "calls", "after", "timeout", title=name)
        for route in routes:
            for index, section in enumerate(route.plan.sections):
                first = f"[bold]{route.plan.name}[/]\n{escape(f'{route.method} {route.path}')}" if not index else ""
                mark = "" if section.required else " [dim]optional[/]"
                table.add_row(
                    first,
                    section.name + mark,
                    escape(section.target),
                    ", ".join(section.depends_on),
                    f"{section.timeout:g} s" if section.timeout else "",
                )
            table.add_section()
        print_table(console, table)


@app.command()
def graph(
    context: typer.Context,
    page: Annotated[
        str, typer.Argument(help="A page, such as ProductPage, web:ProductPage or module:app:ProductPage.")
    ],
    form: Annotated[str, typer.Option("--format", help="mermaid or svg")] = "mermaid",
    output: Annotated[Path | None, typer.Option(help="A file to write to.")] = None,
) -> None:
    """Draw a page's graph."""
    draw = {"mermaid": mermaid, "svg": svg}.get(form)
    if draw is None:
        raise SettingsError(f"there is no format '{form}'; there is: mermaid, svg")
    gateway, _, name = page.rpartition(":")
    found = {
        f"{owner}:{route.plan.name}": route.plan
        for owner, routes in _pages(load_project(), gateway or None).items()
        for route in routes
    }
    matching = [key for key in found if key.rpartition(":")[2] == name]
    if len(matching) != 1:
        problem = "is in more than one gateway" if matching else "is no page"
        raise SettingsError(f"'{page}' {problem}; say which: {', '.join(matching or found)}")
    drawing = draw(found[matching[0]])
    if output is None:
        sys.stdout.write(drawing)
    else:
        (context.obj / output).write_text(drawing)


@app.command()
def policies(
    gateway: Annotated[str | None, typer.Argument(help="Only this gateway, or module:app.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Defaults as well, not only what was changed.")] = False,
) -> None:
    """Show the policy in force for every operation, and where each value comes from."""
    project = load_project()
    for name in names_of(project, gateway):
        table = Table("operation", "value", "in force", "from", title=name)
        for client in load_gateway(project, name).clients.values():
            for bound in client.bound.values():
                values, sources = leaves(bound.resolved.policy), bound.resolved.sources
                shown = {path: value for path, value in values.items() if everything or sources[path] != "default"}
                rows = [(path, f"{value}", sources[path]) for path, value in shown.items()]
                for index, row in enumerate(rows or [("everything", "", "default")]):
                    table.add_row("" if index else escape(bound.operation.label), *row)
                table.add_section()
        print_table(console, table)


@app.command()
def versions(gateway: Annotated[str | None, typer.Argument(help="Only this gateway, or module:app.")] = None) -> None:
    """Show what changed from version to version, and who still uses what."""
    project = load_project()
    for name in names_of(project, gateway):
        loaded = load_gateway(project, name)
        if loaded.versions is not None:
            with environment(project, name):  # of the database as well
                print_table(console, versions_table(name, loaded, loaded.versions))
        elif gateway is not None:
            raise SettingsError(f"gateway '{name}' has no versions: create_bff(versions=...)")


def _pages(project: Project, gateway: str | None) -> dict[str, list[PageRoute]]:
    return {name: load_gateway(project, name).pages for name in names_of(project, gateway)}


def _add_project_commands(project: Project) -> None:
    for name, target in project.commands.items():
        module, _, function = target.partition(":")
        try:
            app.command(name)(getattr(importlib.import_module(module), function))
        except (ImportError, AttributeError) as error:
            raise SettingsError(f"[tool.bff.commands] {name}: {error}") from None


def main() -> None:
    """Entry point of ``bff``."""
    called_from = Path.cwd()
    gc.freeze()  # what is imported stays: neither looked at again, nor freed at the end
    try:
        # A gateway in a container has no project, and must not pay for importing one.
        if sys.argv[1:2] != ["serve"]:
            project = load_project()
            project.enter()
            _add_project_commands(project)
        app(obj=called_from)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BffError as error:
        Console(stderr=True).print(f"[red]bff:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
