"""Keys and plans over the operations port: on this machine, by programs, each key shown once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from bff_core import (
    Bff,
    Page,
    Quota,
    Renamed,
    Settings,
    SettingsError,
    StoredKeys,
    Version,
    Versions,
    create_bff,
    section,
)
from bff_core.ops.admin import admin_app
from bff_core.testing import bff_client


class Thing(BaseModel):
    title: str


class Hello(Page):
    @section
    def hello(self) -> str:
        return "hello"


NO_TENANT = "a tenant is at most 255 printable characters without '|'"
VERSIONS = Versions(Version("2026-05-01", Renamed(Thing, "name", to="title"), path="/v2"), Version("2024-11-01"))


def make(folder: Path, **settings: Any) -> tuple[Bff, StoredKeys]:
    """A gateway whose answers to keys hold for no time at all, so that every change is seen at once."""
    keys = StoredKeys(f"sqlite:///{folder}/keys.db", pepper=SecretStr("p" * 32), ttl=0.0)
    quota = Quota("month", 2, per="month", key="tenant", plans={"gold": 3})
    made = Settings(ops_port=0, log_level="ERROR", **settings)
    app = create_bff("tested", settings=made, clients=[], auth=keys, versions=VERSIONS, limits=[quota])
    app.page("/hello", Hello)
    return app, keys


@pytest.fixture
def app(tmp_path: Path) -> Bff:
    return make(tmp_path)[0]


@pytest.fixture
async def public(app: Bff) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(app) as client:
        yield client


@pytest.fixture
async def admin(app: Bff, public: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    assert app.operations.server is not None
    assert app.operations.server.address is not None
    url = f"http://127.0.0.1:{app.operations.server.address[1]}/partners"
    async with httpx.AsyncClient(base_url=url, headers={"content-type": "application/json"}, timeout=5) as client:
        yield client


async def served(public: httpx.AsyncClient, key: str) -> int:
    return (await public.get("/hello", headers={"x-api-key": key})).status_code


async def test_the_life_of_a_key(public: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    """Issued, listed without being shown again, rotated with grace, revoked."""
    made = await admin.post("/keys", json={"partner": "acme", "scopes": ["b", "a"], "version": "v2", "name": "ERP"})
    assert made.status_code == 201
    key, key_id = made.json()["key"], made.json()["id"]
    assert made.json()["version"] == "2026-05-01"
    assert await served(public, key) == 200
    listed = await admin.get("/keys", params={"partner": "acme"})
    assert key not in listed.text
    assert listed.json()["items"][0]["scopes"] == ["a", "b"]
    assert (await admin.get("/keys", params={"partner": "bolt"})).json()["items"] == []
    newer = (await admin.post(f"/keys/{key_id}/rotate", json={"grace": 60})).json()
    assert newer["key"] != key
    assert [await served(public, each) for each in (key, newer["key"])] == [200, 429]
    assert (await admin.post(f"/keys/{key_id}/rotate", json={})).status_code == 404
    assert (await admin.post(f"/keys/{key_id}/revoke", json={})).json() == {"id": key_id, "in_force_within": 0.0}
    assert await served(public, key) == 401
    assert (await admin.post(f"/keys/{key_id}/revoke", json={})).status_code == 404


async def test_plans(public: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    """A better plan goes on from what was used; a limit of the tenant's own stands before the plan's."""
    key = (await admin.post("/keys", json={"partner": "acme"})).json()["key"]
    assert [await served(public, key) for _ in range(3)] == [200, 200, 429]
    assert (await admin.put("/plans/acme", json={"plan": "gold"})).json()["in_force_within"] == 0.0
    assert [await served(public, key) for _ in range(2)] == [200, 429]
    await admin.put("/plans/acme", json={"plan": "gold", "limits": {"month": 5}})
    assert [await served(public, key) for _ in range(3)] == [200, 200, 429]
    assert (await admin.get("/plans")).json() == {
        "limits": {"month": {"default": 2, "gold": 3}},
        "items": [{"tenant": "acme", "plan": "gold", "limits": {"month": 5}}],
    }
    assert (await admin.delete("/plans/acme")).status_code == 204
    assert await served(public, key) == 429
    assert (await admin.delete("/plans/acme")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/keys", {}, "The request is not valid."),
        ("/keys", {"partner": "acme", "secret": 1}, "The request is not valid."),
        ("/keys", {"partner": "acme", "version": "v9"}, "There is no version 'v9'."),
        ("/keys", {"partner": "acme", "plan": "silver"}, "there is no plan 'silver'; there is: gold"),
        ("/keys", {"partner": "acme|eu"}, f"Give the key another 'tenant', or 'partner': {NO_TENANT}."),
        ("/keys", {"partner": "acme", "tenant": "a\tb"}, f"Give the key another 'tenant', or 'partner': {NO_TENANT}."),
        ("/plans/acme%7Ceu", {"plan": "gold"}, f"This cannot name a tenant: {NO_TENANT}."),
        ("/plans/acme", {"limits": {"week": 1}}, "there is no limit 'week'; there is: month"),
        ("/plans/acme", {"limits": {"month": "many"}}, "limit 'month': 'many' is no number of calls; the least is 1"),
        ("/plans/acme", {"limits": {"month": 0}}, "limit 'month': 0 is no number of calls; the least is 1"),
    ],
)
async def test_mistakes(admin: httpx.AsyncClient, path: str, body: dict[str, Any], detail: str) -> None:
    """Problem documents that say what to do; nothing is written."""
    method = "PUT" if path.startswith("/plans") else "POST"
    answer = await admin.request(method, path, json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await admin.get("/keys")).json()["items"] == []
    assert (await admin.get("/plans")).json()["items"] == []


async def test_no_page_of_the_web_issues_keys(admin: httpx.AsyncClient) -> None:
    """Neither by what browsers send without asking, nor under a name of its own for this machine."""
    body = '{"partner": "mallory"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await admin.post("/keys", content=body, headers={"content-type": kind})
        assert answer.status_code == 415
    assert (await admin.request("OPTIONS", "/keys", headers={"origin": "https://evil.example"})).status_code == 405
    for method in ("GET", "POST"):
        answer = await admin.request(method, "/keys", content=body, headers={"host": "evil.example"})
        assert answer.status_code == 421
    assert (await admin.get("/keys")).json()["items"] == []


async def test_not_where_others_can_reach_it(tmp_path: Path, public: httpx.AsyncClient) -> None:
    """On the public port there is nothing of it, and on any other address neither."""
    assert (await public.get("/partners/keys")).status_code == 404
    app, _ = make(tmp_path, ops_host="0.0.0.0")
    assert app.operations.server is not None
    assert app.operations.server._routes == []


async def test_by_a_token_from_elsewhere(tmp_path: Path) -> None:
    """On any address, this machine's too, for whoever has the token and nobody else."""
    app, _ = make(tmp_path, ops_host="0.0.0.0", ops_token="t" * 32)
    async with bff_client(app):
        assert app.operations.server is not None
        assert app.operations.server.address is not None
        url = f"http://127.0.0.1:{app.operations.server.address[1]}/partners"
        async with httpx.AsyncClient(base_url=url, headers={"content-type": "application/json"}, timeout=5) as admin:
            token = b"t" * 32
            for given in (b"", token, b"Bearer " + token[1:], b"Bearer t" + token, b"Basic " + token, b"Bearer \xe9"):
                for method, path, body in (
                    ("GET", "/keys", None),
                    ("POST", "/keys", {"partner": "acme"}),
                    ("PUT", "/plans/acme", {"plan": "gold"}),
                    ("DELETE", "/plans/acme", None),
                ):
                    refused = await admin.request(method, path, json=body, headers={"authorization": given})
                    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            own = {"authorization": f"Bearer {'t' * 32}"}
            assert (await admin.post("/keys", json={"partner": "acme"}, headers=own)).status_code == 201
            assert len((await admin.get("/keys", headers=own)).json()["items"]) == 1
            lower = {"authorization": f"bearer {'t' * 32}"}
            assert (await admin.get("/keys", headers=lower)).status_code == 200


async def test_who_it_is_before_the_body(tmp_path: Path) -> None:
    """Without the token nothing of a body is read, with it no more than is wanted."""
    keys = StoredKeys(f"sqlite:///{tmp_path}/keys.db", pepper=SecretStr("p" * 32))
    app = admin_app(keys, None, {}, "t" * 32)
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 16 * 1024

    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=headers) as admin:
        assert (await admin.post("/keys", content=body())).status_code == 401
        assert read == 0
        answer = await admin.post("/keys", content=body(), headers={"authorization": f"Bearer {'t' * 32}"})
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        assert read == 5


@pytest.mark.parametrize("token", ["t" * 31, "t" * 31 + "\xe9", "t" * 31 + " ", "t" * 31 + "\n"])
def test_tokens_that_no_header_carries(token: str) -> None:
    with pytest.raises(SettingsError, match="ops_token"):
        Settings.load(ops_token=token)


@pytest.mark.parametrize("name", ["%00", "x" * 201])
async def test_names_that_no_database_takes(admin: httpx.AsyncClient, name: str) -> None:
    assert (await admin.put(f"/plans/{name}", json={"plan": "gold"})).status_code == 422
    assert (await admin.post(f"/keys/{name}/revoke")).status_code == 422
    assert (await admin.get(f"/keys?partner={name}")).status_code == 422


async def test_a_limit_that_cannot_be_used_is_no_outage(tmp_path: Path) -> None:
    """What another release wrote and this one does not know: the plan holds."""
    app, keys = make(tmp_path)
    async with bff_client(app) as client:
        key, _ = await keys.store.issue("acme")
        for limits in ({"week": 1}, {"month": "much"}, {"month": [1, 2, 3]}):
            await keys.store.plans.put("acme", "gold", limits)
            answer = await client.get("/hello", headers={"x-api-key": key})
            assert answer.headers["ratelimit-policy"] == '"month";q=3;w=2592000'
