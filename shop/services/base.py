"""What every service is made of: the app, its database, its listings."""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query
from starlette.responses import Response

from ..seed import seed
from ..seeding.database import connect
from .etag import EtagMiddleware
from .faults import FaultsMiddleware, State, add_fault_routes
from .problems import Problem, add_problem_handlers

__all__ = ["Cursor", "Ids", "Limit", "Service", "by_ids", "json_listing", "transaction"]

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=256)]
Ids = Annotated[list[str] | None, Query(max_length=100)]
Closer = Callable[[], Any]


class Service(FastAPI):
    """One service over the SQLite file of its name in ``data`` (none for ``database=False``)."""

    def __init__(self, name: str, data: Path, *, faults: bool, database: bool = True) -> None:
        seed(data)
        self.data = data
        self.closers: list[Closer] = []
        if database:
            self.db: sqlite3.Connection = connect(data / f"{name}.db")
        super().__init__(title=f"shop {name}", version="1.0.0", lifespan=_lifespan)
        state = State(allowed=faults)
        add_problem_handlers(self)
        add_fault_routes(self, state)
        self.add_middleware(EtagMiddleware)
        self.add_middleware(FaultsMiddleware, state=state)
        self.add_api_route("/health", _health, tags=["health"])


@asynccontextmanager
async def _lifespan(app: Service) -> AsyncIterator[None]:
    yield
    for close in app.closers:
        await close()
    if hasattr(app, "db"):
        app.db.close()


async def _health() -> dict[str, str]:
    return {"status": "ok"}


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. No await inside: the process has one connection."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def encode_cursor(seq: int) -> str:
    """An opaque cursor for the row after which to go on."""
    return base64.urlsafe_b64encode(f"s{seq}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, start: int) -> int:
    """The row of a cursor, ``start`` without one; raises a 400 problem for what is none."""
    if cursor is None:
        return start
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if text.startswith("s") and text[1:].isdigit() and len(text) < 20:  # noqa: PLR2004 - 64 bits
            return int(text[1:])
    except (ValueError, binascii.Error):
        pass
    raise Problem(400, "The cursor is not one of this listing's.")


def json_listing(rows: Sequence[sqlite3.Row], limit: int, **extra: str) -> Response:
    """A listing of rows that have ``seq`` and ``document`` (JSON as it goes out); ``extra`` members are JSON.

    ``rows`` are one more than ``limit`` when there is a further page.
    """
    more = encode_cursor(rows[limit - 1]["seq"]) if len(rows) > limit else None
    items = ",".join(row["document"] for row in rows[:limit])
    members = "".join(f',"{name}":{value}' for name, value in extra.items())
    return Response(f'{{"items":[{items}],"next":{json.dumps(more)}{members}}}', media_type="application/json")


def by_ids(db: sqlite3.Connection, sql: str, ids: Sequence[str]) -> list[sqlite3.Row]:
    """The rows with these ids, in their order, without those that are not there; ``sql`` has ``{marks}``."""
    marks = ", ".join("?" * len(ids))
    found = {row[0]: row for row in db.execute(sql.format(marks=marks), list(ids))}
    return [found[key] for key in dict.fromkeys(ids) if key in found]
