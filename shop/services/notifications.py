"""What the shop tells its customers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fastapi import FastAPI

from ..models import Listing, Notification
from .base import Cursor, Limit, Service, decode_cursor, encode_cursor
from .problems import not_found

__all__ = ["create_app"]

FAR = 2**62


def create_app(data: Path, *, faults: bool = False) -> FastAPI:
    """The notifications service."""
    app = Service("notifications", data, faults=faults)
    db = app.db

    @app.get("/users/{user_id}/notifications")
    async def of_user(
        user_id: str, cursor: Cursor = None, limit: Limit = 20, unread: bool = False
    ) -> Listing[Notification]:
        rows = db.execute(
            "SELECT * FROM notifications WHERE user_id = ? AND seq < ? AND read <= ? ORDER BY seq DESC LIMIT ?",
            (user_id, decode_cursor(cursor, FAR), 0 if unread else 1, limit + 1),
        ).fetchall()
        more = encode_cursor(rows[limit - 1]["seq"]) if len(rows) > limit else None
        return Listing(items=[_notification(row) for row in rows[:limit]], next=more)

    @app.post("/notifications/{notification_id}/read")
    async def read(notification_id: str) -> Notification:
        row = db.execute("UPDATE notifications SET read = 1 WHERE id = ? RETURNING *", (notification_id,)).fetchone()
        if row is None:
            raise not_found("notification")
        return _notification(row)

    return app


def _notification(row: sqlite3.Row) -> Notification:
    return Notification.model_validate(dict(row))
