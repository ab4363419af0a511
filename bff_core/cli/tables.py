"""How tables are printed."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

__all__ = ["print_table"]

ANY = 10_000


def print_table(console: Console, table: Table) -> None:
    """Print it so wide that a column of single words has them whole: half a URL or id is of use to nobody. Sentences go
    on in the next line, and on a terminal that is too narrow all lines do."""
    for column in table.columns:
        column.no_wrap = all(len(str(cell).split()) <= 1 for cell in (column.header, *column.cells))
        column.overflow = "fold"
    width = console.width
    needed = console.measure(table, options=console.options.update(max_width=ANY)).minimum
    try:
        console.width = max(width, needed)
        console.print(table)
    finally:
        console.width = width
