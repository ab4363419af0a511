"""A gateway with the life of apps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bff_core import (
    AppLife,
    AppState,
    Bff,
    Collection,
    Page,
    RequestContext,
    ServiceClient,
    Settings,
    app_state,
    create_bff,
    get,
    mutation,
    optional,
    post,
    required,
    section,
)
from bff_core.testing import FakeServices
from tests.users import UserHeader

DEFINITIONS: dict[str, Any] = {
    "gate": {"ios": {"minimum": "3.0.0", "latest": "3.4.1", "store": "https://store.example/app"}},
    "config": {"most": 99},
    "flags": {
        "fast": {
            "variants": {"on": True, "off": False},
            "default": "off",
            "rules": [{"variant": "on", "attributes": {"subject": ["anna"]}}],
        },
        "half": {"variants": {"a": "A", "b": "B"}, "default": "a", "rules": [{"variant": "b", "percent": 50}]},
    },
}


class Thing(BaseModel):
    id: str
    text: str = ""


class Things(ServiceClient, service="things"):
    @get("/things/{thing_id}")
    async def thing(self, thing_id: str) -> Thing: ...

    @get("/things")
    async def all(self) -> list[Thing]: ...

    @post("/things", idempotent=True)
    async def make(self, thing: Thing) -> Thing: ...


class ThingPage(Page):
    thing = required(Things.thing)


class BootstrapPage(Page):
    things = optional(Things.all, fallback=[])

    @section
    def app(self, context: RequestContext) -> AppState:
        return app_state(context)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "apps.json"
    path.write_text(json.dumps(DEFINITIONS))
    return path


@pytest.fixture
def services() -> FakeServices:
    services = FakeServices("things")
    services["things"].get("/things/t1").respond(json={"id": "t1"}, headers={"cache-control": "max-age=60"})
    services["things"].get("/things").respond(json=[{"id": "t1"}])
    services["things"].post("/things").respond(json={"id": "t2"})
    return services


def remove(file: Path) -> None:
    file.unlink()


def write(file: Path, content: str | bytes) -> None:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_app(services: FakeServices, life: AppLife | None, **options: Any) -> Bff:
    settings = Settings(services=services.settings, log_level="CRITICAL")
    options.setdefault("auth", UserHeader())
    on_poke = options.pop("on_poke", None)
    app = create_bff(
        "mobile", settings=settings, clients=[Things], transport=services.transport, app_life=life, **options
    )
    app.page("/things/{thing_id}", ThingPage, public=True)
    app.page("/kept/{thing_id}", ThingPage, public=True, cache=True)
    if options["auth"] is not None:
        app.page("/bootstrap", BootstrapPage)
        app.batch("/batch")
        collection = Collection("things", Things.all, Thing, confirm_after=0.0)
        mutations = [mutation("make", Things.make, touches=[collection])]
        app.sync("/sync", collections=[collection], mutations=mutations, on_poke=on_poke)

    @app.get("/plain")
    async def plain() -> dict[str, bool]:
        return {"plain": True}

    return app
