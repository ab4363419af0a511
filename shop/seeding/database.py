"""The services' SQLite files: their tables, and how rows get in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Rows", "connect", "write"]

Row = tuple[str | int | float | None, ...]
Rows = dict[str, Iterable[Row]]

SCHEMA = {
    "catalog": """
        CREATE TABLE products (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, brand TEXT NOT NULL,
            category TEXT NOT NULL, document TEXT NOT NULL);
        CREATE INDEX products_category ON products (category, seq);
    """,
    "users": """
        CREATE TABLE users (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document TEXT NOT NULL);
    """,
    "reviews": """
        CREATE TABLE reviews (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, product_id TEXT NOT NULL,
            rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 5), document TEXT NOT NULL);
        CREATE INDEX reviews_product ON reviews (product_id, seq DESC);
    """,
    "notifications": """
        CREATE TABLE notifications (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL, kind TEXT NOT NULL,
            title TEXT NOT NULL, text TEXT NOT NULL, read INTEGER NOT NULL, created_at TEXT NOT NULL);
        CREATE INDEX notifications_user ON notifications (user_id, seq DESC);
    """,
    "orders": """
        CREATE TABLE orders (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL, partner_id TEXT,
            status TEXT NOT NULL, total INTEGER NOT NULL, currency TEXT NOT NULL, created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL);
        CREATE INDEX orders_user ON orders (user_id, seq DESC);
        CREATE INDEX orders_partner ON orders (partner_id, seq DESC);
        CREATE TABLE lines (
            order_id TEXT NOT NULL REFERENCES orders (id), number INTEGER NOT NULL, product_id TEXT NOT NULL,
            name TEXT NOT NULL, quantity INTEGER NOT NULL CHECK (quantity > 0), price INTEGER NOT NULL,
            currency TEXT NOT NULL, PRIMARY KEY (order_id, number)) WITHOUT ROWID;
        CREATE TABLE cart_lines (
            user_id TEXT NOT NULL, product_id TEXT NOT NULL, name TEXT NOT NULL,
            quantity INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 99), price INTEGER NOT NULL,
            currency TEXT NOT NULL, PRIMARY KEY (user_id, product_id)) WITHOUT ROWID;
        CREATE TABLE idempotency (
            user_id TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL,
            order_id TEXT NOT NULL REFERENCES orders (id), PRIMARY KEY (user_id, key)) WITHOUT ROWID;
    """,
    "inventory": """
        CREATE TABLE stock (
            product_id TEXT PRIMARY KEY, available INTEGER NOT NULL CHECK (available >= 0),
            warehouse TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE reservations (
            id TEXT NOT NULL, product_id TEXT NOT NULL REFERENCES stock (product_id), quantity INTEGER NOT NULL,
            PRIMARY KEY (id, product_id)) WITHOUT ROWID;
    """,
    "payments": """
        CREATE TABLE payments (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL, amount INTEGER NOT NULL,
            currency TEXT NOT NULL, method TEXT NOT NULL, status TEXT NOT NULL, created_at TEXT NOT NULL,
            key TEXT UNIQUE);
        CREATE INDEX payments_order ON payments (order_id);
    """,
    "recommendations": """
        CREATE TABLE related (
            product_id TEXT NOT NULL, other_id TEXT NOT NULL, score INTEGER NOT NULL,
            PRIMARY KEY (product_id, other_id)) WITHOUT ROWID;
        CREATE INDEX related_score ON related (product_id, score DESC, other_id);
        CREATE TABLE bought (
            user_id TEXT NOT NULL, product_id TEXT NOT NULL, PRIMARY KEY (user_id, product_id)) WITHOUT ROWID;
    """,
}


def connect(file: Path) -> sqlite3.Connection:
    """A connection to a service's file, set up as all of them are; transactions are begun by hand."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=5000;"
    )
    return connection


def write(file: Path, service: str, rows: Rows) -> None:
    """Make ``file`` with the tables of ``service`` and these rows, in one transaction."""
    connection = connect(file)
    try:
        connection.executescript(SCHEMA[service])
        connection.execute("BEGIN")
        for table, values in rows.items():
            batch = list(values)
            if batch:
                marks = ", ".join("?" * len(batch[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", batch)  # noqa: S608 - our own names
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
