"""Browsers' forms, pages that greet, and problems that ask to sign in: HTML beside sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import Query
from jinja2 import FileSystemLoader
from pydantic import BaseModel, ConfigDict, Field

from bff_core import (
    Bff,
    DeclarationError,
    Page,
    Principal,
    ServiceSettings,
    Settings,
    create_bff,
    required,
    section,
    shape,
    step_up,
)

from .fakes import ISSUER, SITE, Browser, Echo, Notes, Site

pytestmark = pytest.mark.anyio
OWN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "origin": SITE}


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1)]
    number: int = 1
    tags: list[str] = []


class Wished(BaseModel):
    at: str
    wish: Wish


class WishPage(Page):
    wish: Wish
    at: Annotated[str, Query()] = "/wishes/1"

    @section
    async def done(self, wish: Wish, at: str, principal: Principal) -> Wished:
        granted.append((principal.subject, wish))
        return Wished(at=at, wish=wish)

    @shape
    def answer(self, done: Wished) -> Wished:
        return done


class Shown(BaseModel):
    echo: Echo


class EchoPage(Page):
    echo = required(Notes.echo)

    @shape
    def shown(self, echo: Echo) -> Shown:
        return Shown(echo=echo)


granted: list[tuple[str, Wish]] = []
TEMPLATES = {
    "layout.html": "<nav>{{ principal.claims.name if principal else 'nobody' }}</nav>{% block main %}{% endblock %}",
    "page.html": "{% extends 'layout.html' %}{% block main %}{{ page.echo.authorization }} at {{ here }}{% endblock %}",
    "plain.html": "{{ page.echo.authorization }}",
    "error.html": "{% extends 'layout.html' %}{% block main %}<h1>{{ problem.status }}</h1>{{ sign_in }}{% endblock %}",
}


async def make(site: Site, folder: Path, **options: Any) -> Bff:
    granted.clear()
    for name, text in TEMPLATES.items():
        (folder / name).write_text(text)
    settings = Settings(services={"notes": ServiceSettings(url="http://notes.test", auth="relay")})
    transport = httpx.MockTransport(site._answer)
    sessions = site.sessions(**options)
    app = create_bff("web", clients=[Notes], settings=settings, auth=sessions, transport=transport, templates=folder)
    app.html("/page", EchoPage, template="page.html", public=True)
    app.html("/plain", EchoPage, template="plain.html", public=True)
    app.html("/own", EchoPage, template="page.html")
    app.html("/step", EchoPage, template="page.html", allow=step_up(max_age=60, clock=site.clock))
    app.form("/wishes", WishPage, then="/own?a=1")
    app.form("/wishes/new", WishPage, then=lambda answer: answer.at)
    app.page("/api/wishes", WishPage, method="POST")
    await site.stack.enter_async_context(app.router.lifespan_context(app))
    return app


@pytest.fixture
async def app(site: Site, tmp_path: Path) -> Bff:
    return await make(site, tmp_path)


@pytest.fixture
async def browser(site: Site, app: Bff) -> Browser:
    browser = await site.browser(app)
    await browser.sign_in(site.provider)
    return browser


async def test_a_form_of_our_own(browser: Browser) -> None:
    """No script and no header: the fields arrive, the browser is sent on with a GET."""
    answer = await browser.client.post(
        "/wishes", data={"text": "ü & +", "number": "3", "tags": ["a", "b"]}, headers=OWN
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/own?a=1")
    assert answer.headers["cache-control"] == "no-store"
    assert granted == [("u1", Wish(text="ü & +", number=3, tags=["a", "b"]))]
    older = {"origin": SITE}  # browsers before Sec-Fetch-Site
    assert (await browser.client.post("/wishes", data={"text": "x"}, headers=older)).status_code == 303


FORGED: dict[str, dict[str, str]] = {
    "another site": {"sec-fetch-site": "cross-site", "origin": "https://evil.test"},
    "another site, no Sec-Fetch-Site": {"origin": "https://evil.test"},
    "a sub-domain": {"sec-fetch-site": "same-site", "origin": "https://blog.shop.test"},
    "an address typed in": {"sec-fetch-site": "none"},
    "Origin: null": {"origin": "null"},
    "a sandboxed frame": {"sec-fetch-site": "cross-site", "origin": "null"},
    "same-origin claimed, another origin": {"sec-fetch-site": "same-origin", "origin": "https://evil.test"},
    "another scheme": {"origin": "http://shop.test"},
    "nothing said": {},
    "nothing said but the header": {"x-csrf": "1"},
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_form_of_others(browser: Browser, how: str) -> None:
    """With the user's cookie: refused, and shown as a page."""
    answer = await browser.client.post("/wishes", data={"text": "x"}, headers=FORGED[how])
    assert answer.status_code == 403
    assert "<h1>403</h1>" in answer.text
    assert granted == []


async def test_only_forms_are_taken_as_forms(browser: Browser) -> None:
    """A route for programs needs the header as ever; one for forms takes nothing else."""
    assert (await browser.client.post("/api/wishes", json={"text": "x"}, headers=OWN)).status_code == 403
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", ""):
        answer = await browser.client.post("/wishes", content="text=x", headers={**OWN, "content-type": kind})
        assert answer.status_code == 415, kind
    assert granted == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 422),
        ("text=", 422),
        ("text=x&number=many", 422),
        ("text=x&other=1", 422),
        ("text=x&text=y", 422),
        ("text=%ff", 400),
        ("text=\xff", 400),
        ("&".join(f"a{n}=1" for n in range(101)), 400),
        ("text=" + "x" * 2_000_000, 413),
    ],
)
async def test_forms_that_are_wrong(browser: Browser, body: str, status: int) -> None:
    """Told on a page; nothing is done."""
    headers = {**OWN, "content-type": "application/x-www-form-urlencoded"}
    answer = await browser.client.post("/wishes", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code == status
    assert f"<h1>{status}</h1>" in answer.text
    assert granted == []


@pytest.mark.parametrize("to", ["https://evil.test", "//evil.test", "/\\evil.test", "/a b", "/auth/login", "x"])
async def test_nobody_is_sent_elsewhere(browser: Browser, app: Bff, to: str) -> None:
    """Whatever the page answers, it is a path of ours."""
    for at, location in ((to, "/"), ("/wishes/7?new", "/wishes/7?new")):
        answer = await browser.client.post("/wishes/new", params={"at": at}, data={"text": "x"}, headers=OWN)
        assert answer.headers["location"] == location
    with pytest.raises(DeclarationError, match="no path of this gateway"):
        app.form("/other", WishPage, then=to)


async def test_a_form_needs_templates(site: Site) -> None:
    with pytest.raises(DeclarationError, match="templates"):
        (await site.gateway()).form("/wishes", WishPage, then="/")


async def test_who_is_not_signed_in_is_asked_to(site: Site, app: Bff) -> None:
    """On a page with the status of a problem, and comes back to where they were; after a form, to where it leads."""
    browser = await site.browser(app)
    answer = await browser.navigate("/own?q=a%20b&c=%C3%BC")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert "/auth/login?return_to=%2Fown%3Fq%3Da%2520b%26c%3D%25C3%25BC" in answer.text
    form = await browser.client.post("/wishes", data={"text": "x"}, headers=OWN)
    assert (form.status_code, "/auth/login?return_to=%2Fown%3Fa%3D1" in form.text) == (401, True)
    new = await browser.client.post("/wishes/new", data={"text": "x"}, headers=OWN)
    assert "/auth/login?return_to=%2F" in new.text
    back = await browser.sign_in(site.provider, "/auth/login?return_to=%2Fown%3Fq%3Da%2520b%26c%3D%25C3%25BC")
    assert back.headers["location"] == "/own?q=a%20b&c=%C3%BC"
    assert (await browser.navigate(back.headers["location"])).status_code == 200
    site.clock.now += 100
    site.provider.claims["auth_time"] = int(site.clock.now) - 100
    stepped = await browser.navigate("/step")
    assert "/auth/login?max_age=60&amp;return_to=%2Fstep" in stepped.text


async def test_a_public_page_greets(site: Site, browser: Browser, app: Bff) -> None:
    """Who is signed in is named, and the page then kept by nobody; its services are asked for nobody in particular."""
    answer = await browser.navigate("/page?x=1")
    assert answer.text.startswith("<nav>Ann</nav>None at /page?x=1<")
    assert answer.headers["cache-control"] == "private, no-store"
    own = await browser.navigate("/own")
    assert own.text.startswith("<nav>Ann</nav>Bearer ")
    assert own.headers["cache-control"] == "private, no-store"
    other = await site.browser(app)
    anybody = await other.navigate("/page")
    assert anybody.text.startswith("<nav>nobody</nav>None")
    assert anybody.headers["cache-control"] == "private, no-cache"


async def test_a_page_that_is_kept_crosses_to_nobody(site: Site, browser: Browser, app: Bff) -> None:
    """Who is signed in gets their own, which is not kept; what is kept names nobody, and only nobody gets it."""
    site.notes_fresh = "max-age=60"
    app.html("/kept", EchoPage, template="page.html", public=True, cache=True)
    other = await site.browser(app)
    for _ in range(2):
        own = await browser.navigate("/kept")
        assert (own.text.startswith("<nav>Ann</nav>"), "age" in own.headers) == (True, False)
        assert own.headers["cache-control"] == "private, no-store"
    first = await other.navigate("/kept")
    assert (first.text.startswith("<nav>nobody</nav>"), "age" in first.headers) == (True, False)
    again = await other.navigate("/kept")
    assert (again.text.startswith("<nav>nobody</nav>"), "age" in again.headers) == (True, True)
    own = await browser.navigate("/kept")
    assert (own.text.startswith("<nav>Ann</nav>"), "age" in own.headers) == (True, False)


PEOPLE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_sign_in_that_failed_is_shown_to_people(site: Site, app: Bff) -> None:
    """Who changed their mind at the provider sees a page, which does not repeat what came with it."""
    browser = await site.browser(app)
    state = parse_qs(urlsplit(await browser.begin()).query)["state"][0]
    back = f"/auth/callback?error=access_denied&state={state}&iss={ISSUER}"
    answer = await browser.navigate(back, "cross-site", **PEOPLE)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "<h1>400</h1>" in answer.text
    assert state not in answer.text
    assert "nonce-" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    site.provider.down = True
    app_without = await make_again(site, app)
    answer = await (await site.browser(app_without)).navigate("/auth/login", **PEOPLE)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")


async def make_again(site: Site, app: Bff) -> Bff:
    """A gateway that has never reached the provider."""
    assert app.templates is not None
    loader = app.templates.environment.loader
    assert isinstance(loader, FileSystemLoader)
    return await make(site, Path(loader.searchpath[0]))


@pytest.mark.parametrize(
    ("path", "accept", "shown"),
    [
        ("/nowhere", PEOPLE, True),
        ("/nowhere", {}, False),
        ("/nowhere", {"accept": "application/json"}, False),
        ("/api/wishes", PEOPLE, True),
    ],
)
async def test_what_is_no_page_is_shown_to_people(
    browser: Browser, path: str, accept: dict[str, str], shown: bool
) -> None:
    """To who opens an address in a browser; programs get their document."""
    answer = await browser.navigate(path, **accept)
    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"] == ("text/html; charset=utf-8" if shown else "application/problem+json")


async def test_a_page_for_programs_keeps_its_documents(browser: Browser, app: Bff) -> None:
    app.page("/api/own", EchoPage, scopes=["none"])
    answer = await browser.navigate("/api/own", **PEOPLE)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


async def test_a_page_that_does_not_greet_does_not_look(site: Site, browser: Browser) -> None:
    """No store is read for it."""
    reads: list[str] = []
    inner = site.store.get

    async def get(key: str) -> Any:
        reads.append(key)
        return await inner(key)

    site.store.get = get  # type: ignore[method-assign]
    assert (await browser.navigate("/plain")).headers["cache-control"] == "private, no-cache"
    assert reads == []
    await browser.navigate("/page")
    assert len(reads) == 1


@pytest.mark.parametrize("cookie", ["A" * 43, "not one of ours", "é", "A" * 20_000])
async def test_who_cannot_be_told_is_nobody(site: Site, app: Bff, cookie: str) -> None:
    """A public page is shown whatever the cookie is."""
    headers = [(b"cookie", f"__Host-Http-session={cookie}".encode())]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SITE) as client:
        answer = await client.get("/page", headers=headers)
    assert (answer.status_code, "nobody" in answer.text) == (200, True)


async def test_another_site_is_not_told_the_name(browser: Browser) -> None:
    """Nor anything else of the user, by what it can make their browser load."""
    said = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert "nobody" in (await browser.client.get("/page", headers=said)).text


async def test_without_the_store_nobody_is_signed_in(site: Site, browser: Browser) -> None:
    """Public pages go on, the user's own are unavailable."""
    from bff_core.stores import StoreUnavailable

    async def get(key: str) -> Any:
        raise StoreUnavailable("gone")

    site.store.get = get  # type: ignore[method-assign]
    answer = await browser.navigate("/page")
    assert (answer.status_code, "nobody" in answer.text) == (200, True)
    assert (await browser.navigate("/own")).status_code == 503
    assert (await browser.client.post("/wishes", data={"text": "x"}, headers=OWN)).status_code == 503


async def test_greeting_does_not_wait_for_the_provider(site: Site, browser: Browser) -> None:
    """Whose tokens have ended is greeted while new ones are fetched, and greeted no more when there will be none."""
    site.provider.gate = asyncio.Event()
    site.clock.now += 400
    greeted = (await browser.navigate("/page")).text
    site.provider.status, site.provider.error = 400, "invalid_grant"
    site.provider.gate.set()
    assert "Ann" in greeted
    for _ in range(100):
        if "nobody" in (await browser.navigate("/page")).text:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("somebody is greeted whose session is over")


async def test_the_form_that_signs_out_may_lead_to_the_provider(browser: Browser) -> None:
    """Chromium looks at where a form's answer redirects, too."""
    for path in ("/page", "/own"):
        policy = (await browser.navigate(path)).headers["content-security-policy"]
        assert f"form-action 'self' {ISSUER};" in policy


async def test_a_form_is_no_part_of_the_api(app: Bff) -> None:
    assert "/wishes" not in app.openapi()["paths"]
    assert "/api/wishes" in app.openapi()["paths"]
