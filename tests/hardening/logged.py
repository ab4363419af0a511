"""A gateway to be served by a process of its own, whose log is read afterwards."""

from __future__ import annotations

import logging

from bff_core import Settings, create_bff

from .served import Echoes, MinePage, Named, ThingPage

__all__ = ["app"]

SECRET = "hunter2-s3cr3t"

app = create_bff("logged", clients=[Echoes], settings=Settings.load(), auth=Named())
app.page("/things/{thing_id}", ThingPage, public=True)
app.page("/mine", MinePage)


@app.get("/raising")
async def raising() -> None:
    """An exception with a password in it."""
    raise RuntimeError(f"postgresql://gateway:{SECRET}@10.1.2.3/db")


@app.get("/library")
async def library() -> None:
    """A library that is not careful."""
    logging.getLogger("somebody").warning(
        "connecting to %s\r\n%s", f"amqp://u:{SECRET}@mq", '{"forged": 1}', extra={"password": SECRET}
    )
