"""The shop's business, generated: the same rows every time, one SQLite file per service."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rich.progress import Progress

from .seeding import commerce, people, products
from .seeding.database import Rows, write

__all__ = ["is_seeded", "seed"]

DONE = "seeded-1"


def default_data() -> Path:
    """Where the shop keeps its files: ``SHOP_DATA``, else ``.shop`` in the working directory."""
    return Path(os.environ.get("SHOP_DATA", ".shop"))


def is_seeded(data: Path) -> bool:
    """Whether ``data`` holds the whole shop."""
    return (data / DONE).exists()


def seed(data: Path) -> None:
    """Fill ``data`` unless it is filled. Safe when several processes call it, or one died in the middle."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_seeded(data):
            return
        with tempfile.TemporaryDirectory(dir=data, prefix=".seeding-") as scratch:
            _generate(Path(scratch))
            for file in Path(scratch).iterdir():
                for leftover in data.glob(f"{file.name}*"):
                    leftover.unlink()
                shutil.move(file, data / file.name)
        (data / DONE).touch()


def _generate(target: Path) -> None:
    """Everything is generated first: orders need prices, recommendations and payments need orders."""
    catalog = products.generate()
    users = people.users()
    orders = commerce.orders(catalog, users)
    files: dict[str, Rows] = {
        "catalog": products.rows(catalog),
        "users": people.rows(users),
        "reviews": people.reviews(users),
        "notifications": people.notifications(orders),
        "orders": commerce.order_rows(orders, catalog),
        "inventory": commerce.stock(),
        "payments": commerce.payments(orders),
        "recommendations": commerce.recommendations(orders),
    }
    with Progress(transient=True, disable=not sys.stdout.isatty()) as progress:
        for name, rows in progress.track(files.items(), description="seeding the shop"):
            write(target / f"{name}.db", name, rows)


def main() -> None:
    """``python -m shop.seed [--data DIR]``."""
    parser = argparse.ArgumentParser(description="Generate the shop's data.")
    parser.add_argument("--data", type=Path, default=default_data())
    seed(parser.parse_args().data)


if __name__ == "__main__":
    main()
