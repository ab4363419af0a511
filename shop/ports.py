"""Where the services listen on a developer's machine. They need no more of their clients than this."""

from __future__ import annotations

__all__ = ["PORTS"]

PORTS = {
    "identity": 9000,
    "catalog": 9001,
    "reviews": 9002,
    "recommendations": 9003,
    "users": 9004,
    "orders": 9005,
    "notifications": 9006,
    "inventory": 9007,
    "payments": 9008,
}
