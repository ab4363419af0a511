"""The version gate in a gateway, and the file it reads."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from bff_core import AppLife, SettingsError
from bff_core.testing import FakeServices, bff_client

from .conftest import DEFINITIONS, make_app, remove, write

pytestmark = pytest.mark.anyio
OLD = {"app-version": "ios/2.9.9", "x-user": "anna"}
SOON = {"app-version": "ios/3.4.0", "x-user": "anna"}
NEW = {"app-version": "ios/3.4.1", "x-user": "anna"}


async def test_an_app_below_the_minimum_is_refused(services: FakeServices, file: Path) -> None:
    async with bff_client(make_app(services, AppLife(file))) as client:
        for path in ("/things/t1", "/plain", "/bootstrap", "/nowhere", "/sync/poke"):
            answer = await client.get(path, headers=OLD)
            assert answer.status_code == 403, path
            problem = answer.json()
            assert problem["type"] == "urn:problem-type:bff:app-update-required"
            assert (problem["store"], problem["minimum"]) == ("https://store.example/app", "3.0.0")
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["app-update"] == "required"
            assert answer.headers["vary"] == "App-Version"
        batch = await client.post("/batch", headers=OLD, json={"items": [{"path": "/things/t1"}]})
        assert batch.status_code == 403
    assert services.count("things") == 0


async def test_its_outbox_is_taken_all_the_same(services: FakeServices, file: Path) -> None:
    """A write that was done offline is not lost because the app must be updated."""
    async with bff_client(make_app(services, AppLife(file))) as client:
        message = {
            "client": "c1",
            "mutations": [{"seq": 1, "id": "m1", "op": "make", "args": {"thing": {"id": "t2"}}}],
        }
        answer = await client.post("/sync", headers=OLD, json=message)
        assert answer.json()["results"] == [{"id": "m1", "status": "applied"}]
        assert answer.headers["app-update"] == "required"
        flags = await client.post("/ofrep/v1/evaluate/flags", headers=OLD, json={})
        assert flags.status_code == 200


async def test_paths_that_stay_reachable(services: FakeServices, file: Path) -> None:
    async with bff_client(make_app(services, AppLife(file, reachable=["/bootstrap"]))) as client:
        answer = await client.get("/bootstrap", headers=OLD)
        assert answer.json()["app"]["update"] == "required"
        assert answer.json()["app"]["store"] == "https://store.example/app"
        assert (await client.get("/things/t1", headers=OLD)).status_code == 403


async def test_below_another_app_paths_are_without_its_prefix(services: FakeServices, file: Path) -> None:
    app = make_app(services, AppLife(file, reachable=["/plain"]))
    transport = httpx.ASGITransport(app, root_path="/mobile", raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://bff.test") as client:
        assert (await client.get("/mobile/plain", headers=OLD)).status_code == 200
        assert (await client.get("/mobile/things/t1", headers=OLD)).status_code == 403


async def test_an_app_below_the_latest_is_told(services: FakeServices, file: Path) -> None:
    async with bff_client(make_app(services, AppLife(file))) as client:
        for path in ("/things/t1", "/plain", "/bootstrap"):
            answer = await client.get(path, headers=SOON)
            assert (answer.status_code, answer.headers["app-update"]) == (200, "available"), path
            answer = await client.get(path, headers=NEW)
            assert answer.status_code == 200
            assert "app-update" not in answer.headers
            assert "App-Version" in answer.headers["vary"], "what a cache has of one app is not another's"
        tag = (await client.get("/things/t1", headers=NEW)).headers["etag"]
        known = await client.get("/things/t1", headers={**SOON, "if-none-match": tag})
        assert (known.status_code, known.headers["app-update"]) == (304, "available")


@pytest.mark.parametrize(
    "said", [None, "", "ios", "ios/latest", "windows/0.1", "ios/1.2.3.4.5", "%00", "ios/" + "9" * 500]
)
async def test_what_is_not_known_is_let_in(services: FakeServices, file: Path, said: str | None) -> None:
    async with bff_client(make_app(services, AppLife(file))) as client:
        answer = await client.get("/things/t1", headers={} if said is None else {"app-version": said})
        assert answer.status_code == 200
        assert "app-update" not in answer.headers


async def test_no_more_is_remembered_than_there_is_room_for(file: Path) -> None:
    life = AppLife(file)
    for number in range(3000):
        life._judge({"headers": [(b"app-version", b"ios/1.%d" % number)]})
    life._judge({"headers": [(b"app-version", b"ios/" + b"9" * 500)]})
    assert 0 < len(life._known) <= 1024
    assert all(len(raw) < 200 for raw in life._known)


async def test_without_a_file_everybody_is_let_in(services: FakeServices) -> None:
    async with bff_client(make_app(services, AppLife(reachable=["/x"]))) as client:
        answer = await client.get("/bootstrap", headers=OLD)
        assert answer.json()["app"] == {"update": "none", "store": None, "config": {}, "flags": {}}
        assert "vary" not in (await client.get("/things/t1", headers=OLD)).headers


async def test_a_changed_file_is_in_force_without_a_restart(services: FakeServices, file: Path) -> None:
    life = AppLife(file)
    async with bff_client(make_app(services, life)) as client:
        assert (await client.get("/things/t1", headers=NEW)).status_code == 200
        definitions = json.loads(json.dumps(DEFINITIONS))
        definitions["gate"]["ios"] |= {"minimum": "4", "latest": "4"}
        assert not await life.refresh(), "nothing has changed"
        write(file, json.dumps(definitions))
        assert await life.refresh()
        assert (await client.get("/things/t1", headers=NEW)).status_code == 403
        definitions["gate"] = {}
        write(file, json.dumps(definitions))
        assert await life.refresh()
        assert (await client.get("/things/t1", headers=OLD)).status_code == 200


async def test_the_file_is_watched(services: FakeServices, file: Path) -> None:
    life = AppLife(file, poll=0.001)
    async with bff_client(make_app(services, life)) as client:
        write(file, json.dumps({"config": {"new": True}}))
        state: dict[str, object] = {}
        while state.get("config") != {"new": True}:
            state = (await client.get("/bootstrap", headers=NEW)).json()["app"]
    assert life._task is not None
    assert life._task.done()


@pytest.mark.parametrize("content", [b"{", b'{"gate": {"ios": {}}}', b"\xff", b" " * (1024 * 1024 + 1), None])
async def test_a_later_file_that_is_wrong_changes_nothing(
    services: FakeServices, file: Path, content: bytes | None
) -> None:
    life = AppLife(file)
    app = make_app(services, life)
    if content is None:
        remove(file)
    else:
        write(file, content)
    async with bff_client(app) as client:
        assert not await life.refresh()
        assert not await life.refresh()
        assert (await client.get("/things/t1", headers=OLD)).status_code == 403, "the old one is in force"
        write(file, "{}")
        assert await life.refresh()
        assert (await client.get("/things/t1", headers=OLD)).status_code == 200


@pytest.mark.parametrize("content", ["{", '{"gate": {"ios": {"minimum": "x", "store": "https://s"}}}', None])
def test_a_wrong_file_at_the_start(file: Path, content: str | None) -> None:
    if content is None:
        file.unlink()
    else:
        write(file, content)
    with pytest.raises(SettingsError, match=r"apps\.json cannot be used"):
        AppLife(file)


async def test_bootstrap_is_a_page(services: FakeServices, file: Path) -> None:
    """An entity tag, fields, sections that may fail."""
    async with bff_client(make_app(services, AppLife(file))) as client:
        whole = await client.get("/bootstrap", headers=SOON)
        assert whole.json() == {
            "things": [{"id": "t1", "text": ""}],
            "app": {
                "update": "available",
                "store": "https://store.example/app",
                "config": {"most": 99},
                "flags": {"fast": True, "half": "B"},
            },
        }
        assert "app;dur=" in whole.headers["server-timing"]
        assert whole.headers["cache-control"] == "private, no-store"
        known = await client.get("/bootstrap", headers={**SOON, "if-none-match": whole.headers["etag"]})
        assert known.status_code == 304
        other = await client.get(
            "/bootstrap", headers={**SOON, "x-user": "berta", "if-none-match": whole.headers["etag"]}
        )
        assert other.json()["app"]["flags"]["fast"] is False
        some = await client.get("/bootstrap?fields=app.flags&include=", headers=SOON)
        assert some.json() == {"app": {"flags": {"fast": True, "half": "B"}}}
        services["things"].get("/things").respond(503)
        degraded = await client.get("/bootstrap", headers=SOON)
        assert (degraded.json()["_degraded"], degraded.json()["app"]) == (["things"], whole.json()["app"])
        batch = await client.post("/batch", headers=SOON, json={"items": [{"path": "/bootstrap?fields=app.update"}]})
        assert batch.json()["items"][0]["body"]["app"] == {"update": "available"}


async def test_a_bootstrap_without_app_life(services: FakeServices) -> None:
    async with bff_client(make_app(services, None)) as client:
        assert (await client.get("/bootstrap", headers=NEW)).status_code == 500


async def unheard(*_: Any) -> Any:
    """Nobody is to call it."""
    raise AssertionError


async def test_kept_pages_pass_it_too(services: FakeServices, file: Path) -> None:
    """Also those that the server answers before a task is made."""
    app = make_app(services, AppLife(file))

    def at_once(said: str) -> tuple[Any, ...] | None:
        headers = [(b"host", b"bff.test"), (b"app-version", said.encode())]
        scope = {"type": "http", "method": "GET", "path": "/kept/t1", "raw_path": b"/kept/t1", "headers": headers}
        scope |= {"query_string": b"", "scheme": "http", "http_version": "1.1", "root_path": ""}
        begun = app.begin(scope, unheard, unheard)
        if asyncio.iscoroutine(begun):  # also of compiled code
            begun.close()
            return None
        assert isinstance(begun, tuple)
        return begun

    async with bff_client(app) as client:
        await client.get("/kept/t1", headers=NEW)
        kept = await client.get("/kept/t1", headers=SOON)
        assert "age" in kept.headers
        assert kept.headers["app-update"] == "available"
        assert (await client.get("/kept/t1", headers=OLD)).status_code == 403
        assert at_once("ios/2.9.9") is None, "what is refused goes the usual way"
        reply = at_once("ios/3.4.0")
        assert reply is not None
        assert (b"app-update", b"available") in reply[1]
        assert (b"vary", b"App-Version") in reply[1]
