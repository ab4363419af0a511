"""A gateway as a process of its own, to be killed: ``python -m tests.sync.gateway PORT SERVICES_URL STORE``."""

from __future__ import annotations

import sys

import uvicorn

from bff_core import Settings, create_bff
from tests.users import UserHeader

from .shop import NotesService, TagsService, collections, mutations


def main() -> None:
    port, url, store = sys.argv[1:]
    settings = Settings(
        services={"notes": {"url": url}, "tags": {"url": url}},
        policy={"breaker": {"minimum_calls": 1000}, "retry": {"attempts": 1}},
        log_level="CRITICAL",
    )
    app = create_bff("mobile", settings=settings, clients=[NotesService, TagsService], auth=UserHeader())
    app.sync("/sync", collections=collections(confirm_after=0.0), mutations=mutations(), store=store)
    uvicorn.run(app, port=int(port), log_level="critical")


if __name__ == "__main__":
    main()
