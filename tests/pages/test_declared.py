"""An answer that is of another type than its page declares is not sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, field_serializer

from bff_core import Added, Page, Settings, Version, Versions, create_bff, section, shape
from bff_core.testing import bff_client


class Stock(BaseModel):
    left: int
    since: int = 0


class Shaped(Page):
    @section
    def one(self) -> int:
        return 1

    @shape
    def stock(self, one: int) -> Stock:
        return Stock.model_construct(left="private")


class NoModel(Page):
    @section
    def one(self) -> int:
        return 1

    @shape
    def stock(self, one: int) -> Stock:
        return {"left": "private"}  # type: ignore[return-value]  # the mistake


class Unshaped(Page):
    @section
    def left(self) -> int:
        return "private"  # type: ignore[return-value]  # the mistake


class Own(BaseModel):
    left: int

    @field_serializer("left")
    def show(self, _: int) -> int:
        raise KeyError("own")


class Raising(Page):
    @section
    def one(self) -> int:
        return 1

    @shape
    def own(self, one: int) -> Own:
        return Own(left=1)


@pytest.fixture(autouse=True)
def as_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that is used keeps the level that it was used with first, in another test maybe."""
    monkeypatch.setattr("bff_core.edge.log", structlog.get_logger("bff.edge"))


@pytest.mark.parametrize("version", ["2026-01-02", "2026-01-01"])
@pytest.mark.parametrize(
    ("page", "told"),
    [
        (Shaped, "Shaped: the answer is not the Stock that its shape or its sections declare, at 'left'"),
        (NoModel, "NoModel: the answer is not the Stock that its shape or its sections declare"),
        (Unshaped, "Unshaped: the answer is not the Unshaped that its shape or its sections declare, at 'left'"),
        (Raising, "KeyError"),
    ],
)
async def test_another_type_is_a_500(
    page: type[Page], told: str, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In every version; the log says where, and not what."""
    versions = Versions(Version("2026-01-02", Added(Stock, "since")), Version("2026-01-01"))
    app = create_bff("test", clients=[], settings=Settings(services={}), versions=versions)
    app.page("/it", page, public=True)
    async with bff_client(app) as client:
        answer = await client.get("/it", headers={"api-version": version})
    assert answer.status_code == 500
    out, err = capsys.readouterr()
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    logged = next(line for line in lines if line["event"] == "request.error")
    assert told in json.dumps(logged["exception"], ensure_ascii=False)
    assert "private" not in out + err + answer.text


async def test_nor_is_it_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages are of the same document."""
    app = create_bff("test", clients=[], settings=Settings(services={}))
    app.page("/it", Shaped, public=True, stream=True)
    async with bff_client(app) as client:
        answer = await client.get("/it", headers={"accept": "application/x-ndjson"})
    assert answer.status_code == 500
    out, err = capsys.readouterr()
    assert "Shaped: the answer is not the Stock" in out
    assert "private" not in out + err + answer.text
