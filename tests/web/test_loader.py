"""What a front-end framework's server asks for: the user's cookie in, headers for its caches out."""

from __future__ import annotations

import pytest

from .fakes import MePage, MePage2, Site

pytestmark = pytest.mark.anyio
SHARED = "public, max-age=5, stale-while-revalidate=60"


async def test_a_loader_asks_for_its_user(site: Site) -> None:
    """It passes the cookie on and nothing else of the browser: what it gets is that user's and kept by nobody. With the
    cookie alone it changes nothing."""
    app = await site.gateway()
    app.page("/api/kept", MePage, cache_control="private, max-age=10")
    browser, loader = await site.browser(app), await site.browser(app)
    await browser.sign_in(site.provider)
    cookie = {"cookie": f"a=1; __Host-Http-session={browser.session}"}
    answer = await loader.client.get("/api/me", headers=cookie)
    assert answer.json()["me"]["subject"] == "u1"
    assert answer.headers["cache-control"] == "private, no-store"
    kept = await loader.client.get("/api/kept", headers=cookie)
    assert kept.headers["cache-control"] == "private, max-age=10"
    assert {"authorization", "cookie"} <= set(kept.headers["vary"].split(", "))
    assert (await loader.client.post("/api/me", headers=cookie)).status_code == 403
    assert (await loader.client.post("/api/me", headers={**cookie, "x-csrf": "1"})).status_code == 403
    nobody = await loader.client.get("/api/me")
    assert (nobody.status_code, nobody.json()["login"]) == (401, "/auth/login")
    assert nobody.headers["cache-control"] == "no-store"


async def test_what_is_everybodys_says_so(site: Site) -> None:
    """The same for who is signed in: a shared cache may keep it, and show it while it asks for a newer one."""
    app = await site.gateway()
    app.page("/api/shared", MePage2, public=True, cache_control=SHARED)
    browser = await site.browser(app)
    await browser.sign_in(site.provider)
    for client in (browser.client, (await site.browser(app)).client):
        answer = await client.get("/api/shared")
        assert answer.headers["cache-control"] == SHARED
        assert "vary" not in answer.headers
        assert "set-cookie" not in answer.headers
        assert answer.headers["etag"]
        assert answer.json() == {"hello": "hello"}
