"""``bff up``: the whole project on this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from .config import Project
from .supervisor import Supervisor
from .tables import print_table

__all__ = ["up"]

COLOURS = ["cyan", "green", "magenta", "blue", "yellow", "bright_red", "bright_cyan", "bright_green"]


class Output(Console):
    """Standard output. When nobody reads it any more (``bff up | head``) it is silent, and ``closed`` is called."""

    def __init__(self, closed: Callable[[], object]) -> None:
        super().__init__()
        self._closed = closed

    def on_broken_pipe(self) -> None:
        """Rich would raise ``SystemExit`` in whatever task or thread happens to print."""
        with suppress(SystemExit):
            super().on_broken_pipe()
        self._closed()


class Voice:
    """Prints what children say, each line under its name."""

    def __init__(self, console: Console, names: list[str]) -> None:
        self._console = console
        self._width = max(map(len, names), default=0)
        self._colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
        self.quiet = False

    def __call__(self, name: str, line: str) -> None:
        # The access log would drown the walk; what is not JSON, or worse than information, is always shown.
        if self.quiet and line.startswith("{") and '"level": "info"' in line:
            return
        colour = self._colours.get(name, "white")
        self._console.print(f"[{colour}]{name:<{self._width}} |[/] {escape(line)}", soft_wrap=True, highlight=False)


async def up(project: Project, port_base: int, *, once: bool) -> int:
    """Run the project, take the tour, and stay up unless ``once``. Gives the exit status."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    console = Output(lambda: loop.call_soon_threadsafe(stop.set))
    voice = Voice(console, [*project.services, *project.gateways])
    supervisor = Supervisor(project, port_base, voice)
    supervisor.check_ports()

    def told_to_stop() -> None:
        if stop.is_set():  # for the second time
            supervisor.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop)
    voice.quiet = True
    work = asyncio.create_task(_work(project, supervisor, port_base, console))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        elif once or work.exception():
            return work.result()
        else:
            again = " [bold]bff tour[/] takes the walk again." if "tour" in project.commands else ""
            console.print(f"\nRunning. Ctrl-C stops it.{again}")
            voice.quiet = False
            await stopped
        return int(console.quiet)
    finally:
        stopped.cancel()
        with suppress(OSError, ValueError):  # a full disk, a letter that the terminal lacks
            console.print("stopping …")
        await supervisor.stop()


async def _work(project: Project, supervisor: Supervisor, port_base: int, console: Console) -> int:
    total = len(supervisor.services) + len(supervisor.gateways)
    columns = (TextColumn("starting"), BarColumn(), TextColumn("{task.completed}/{task.total} {task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        await supervisor.start(lambda name: progress.update(task, advance=1, description=f"{name} is ready"))
    print_table(console, _addresses(supervisor))
    return await _tour(port_base) if "tour" in project.commands else 0


async def _tour(port_base: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bff_core.cli", "tour", "--port-base", str(port_base)
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise


def _addresses(supervisor: Supervisor) -> Table:
    table = Table("", "address", "console", title="running on this machine", caption="/docs of a gateway describes it")
    for child in [*supervisor.gateways, *supervisor.services]:
        url = f"http://127.0.0.1:{child.port}"
        port = supervisor.consoles.get(child.name)
        console = f"http://127.0.0.1:{port}/console" if port is not None else ""
        name = f"[bold]{child.name}[/]" if child in supervisor.gateways else child.name
        table.add_row(name, url, console)
    return table
