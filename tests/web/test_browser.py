"""In a real browser, with a real provider: signed in and out, attacked from other sites, and no token to be seen."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from bff_core import (
    OidcSessions,
    Page,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    post,
    required,
)
from bff_core.stores import MemoryKeyValueStore
from tests.servers import free_port

from .chromium import Chromium, chromium
from .fakes import SESSION_KEYS
from .real import RealProvider, make_certificate, real_provider, served

pytestmark = pytest.mark.timeout(240)

FRONT = """<!doctype html><title>shop</title><h1 id="who">?</h1>
<a id="in" href="/auth/login?return_to=/front">sign in</a>
<form id="out" method="post" action="/auth/logout"><button>sign out</button></form>
<form id="write" method="post" action="/notes"><input name="text" value="hi"><button>write</button></form><script>
fetch('/auth/user', {headers: {'X-CSRF': '1'}}).then(async answer => {
  const body = await answer.json()
  document.getElementById('who').textContent = answer.ok ? body.claims.name : `nobody, ${answer.status}, ${body.login}`
})</script>"""
TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}|access_token|refresh_token|id_token", re.ASCII)


class Note(BaseModel):
    text: str


class Notes(ServiceClient, service="notes"):
    @get("/note")
    async def read(self) -> Note: ...

    @post("/note")
    async def write(self) -> Note: ...


class ReadPage(Page):
    note = required(Notes.read)


class WritePage(Page):
    note = required(Notes.write)


class NoteForm(BaseModel):
    text: str


class WriteForm(WritePage):
    form: NoteForm


class Scene:
    """The shop at ``shop.test``, an attacker's pages at ``evil.test`` and at ``blog.shop.test``, the provider."""

    def __init__(self, provider: RealProvider, port: int, templates: Path) -> None:
        self.port = port
        self.site = f"https://shop.test:{port}"
        self.provider = provider
        self.store = MemoryKeyValueStore()
        self.relayed: list[tuple[str, str | None]] = []
        self.asked: list[str] = []
        self.sessions = OidcSessions(
            issuer=provider.issuer,
            client_id="web",
            client_secret="a secret of thirty-two characters or more",
            base_url=self.site,
            store=self.store,
            keys=SESSION_KEYS,
            scopes=["openid", "profile", "offline_access", "orders:read"],
            parameters={"prompt": "consent"},
        )
        settings = Settings(services={"notes": ServiceSettings(url="http://notes.test", auth="relay")})
        transport = httpx.MockTransport(self._note)
        (templates / "error.html").write_text('"status": {{ problem.status }}')
        gateway = create_bff(
            "web", clients=[Notes], settings=settings, auth=self.sessions, transport=transport, templates=templates
        )
        gateway.page("/api/note", ReadPage)
        gateway.page("/api/note", WritePage, method="POST")
        gateway.form("/notes", WriteForm, then="/front")
        gateway.router.routes.append(Route("/front", _front))
        gateway.router.routes.append(Route("/", _front))
        others = Starlette(routes=[Route("/{path:path}", _elsewhere)])

        async def app(scope: Any, receive: Any, send: Any) -> None:
            host = dict(scope.get("headers", ())).get(b"host", b"").decode()
            if scope["type"] == "http":
                self.asked.append(f"{scope['method']} {scope['path']}")
            here = scope["type"] != "http" or host.partition(":")[0] in ("shop.test", "127.0.0.1")
            await (gateway if here else others)(scope, receive, send)

        self.app = app

    def _note(self, request: httpx.Request) -> httpx.Response:
        self.relayed.append((request.method, request.headers.get("authorization")))
        return httpx.Response(200, json={"text": "hello"})

    def secrets(self, session_id: str) -> list[str]:
        """The tokens of the session."""
        held = asyncio.run(self.sessions.vault.read(session_id))
        assert held is not None
        assert held.session.refresh is not None
        return [held.session.access, held.session.refresh]


async def _front(request: Request) -> HTMLResponse:
    # The page has a script and a form of its own; the form's answer leads to the provider, which is form-action's too.
    policy = "script-src 'unsafe-inline'; connect-src 'self'; form-action 'self' http://127.0.0.1:*"
    return HTMLResponse(FRONT, headers={"content-security-policy": policy})


async def _elsewhere(request: Request) -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>elsewhere</title><body></body>")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    port = free_port()
    certificate = make_certificate(tmp_path_factory.mktemp("tls"), "shop.test", "*.shop.test", "evil.test")
    client = {
        "client_id": "web",
        "client_secret": "a secret of thirty-two characters or more",
        "redirect_uris": [f"https://shop.test:{port}/auth/callback"],
        "post_logout_redirect_uris": [f"https://shop.test:{port}/"],
        "grant_types": ["authorization_code", "refresh_token"],
        "backchannel_logout_uri": f"https://127.0.0.1:{port}/auth/backchannel-logout",
        "scope": "openid profile offline_access orders:read",
    }
    with real_provider([client], seconds=8, ca=certificate) as provider:
        scene = Scene(provider, port, tmp_path_factory.mktemp("templates"))
        with served(scene.app, port, certificate):
            yield scene


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def browser(scene: Scene, started: Chromium) -> Chromium:
    """Whatever a test before has left in it is gone."""
    others = [f"https://{host}:{scene.port}" for host in ("evil.test", "blog.shop.test")]
    started.forget(scene.site, scene.provider.issuer, *others)
    return started


def sign_in(browser: Chromium, scene: Scene, path: str = "/front") -> None:
    """By the link, over the provider's own forms."""
    browser.open(scene.site + path)
    browser.wait("document.getElementById('who').textContent.includes('nobody, 401, /auth/login')")
    browser.click("#in")
    browser.type("input[name=login]", "alice")
    browser.type("input[name=password]", "x")
    browser.click("button[type=submit]")
    browser.click("button[type=submit]")  # consent
    browser.wait("document.getElementById('who').textContent === 'alice of the tests'")
    browser.note()


def cookie_of(browser: Chromium) -> dict[str, Any]:
    cookies: list[dict[str, Any]] = browser.driver.execute_cdp_cmd("Network.getAllCookies", {})["cookies"]
    (found,) = [cookie for cookie in cookies if cookie["name"] == "__Host-Http-session"]
    return found


def test_no_token_is_to_be_seen(browser: Chromium, scene: Scene) -> None:
    """Storage, cookies that scripts see, network log, page source: from before signing in to after signing out."""
    scene.relayed.clear()
    sign_in(browser, scene)
    assert browser.driver.current_url == f"{scene.site}/front"
    cookie = cookie_of(browser)
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    assert cookie["domain"] == "shop.test"
    secrets = scene.secrets(cookie["value"])
    headers = {"headers": {"X-CSRF": "1"}}
    assert browser.fetch("/api/note", **headers)[0] == 200
    assert browser.fetch("/api/note", method="POST", **headers)[0] == 200
    assert scene.relayed == [("GET", f"Bearer {secrets[0]}"), ("POST", f"Bearer {secrets[0]}")]
    kept = browser.storage()
    assert (kept["local"], kept["session"], kept["cookie"]) == ("[]", "[]", "")
    assert (kept["databases"], kept["caches"], kept["workers"]) == (0, 0, 0)
    # Until the access token has ended, and beyond.
    refreshes = scene.provider.count("grant.success", grant="refresh_token")
    for _ in range(100):
        assert browser.fetch("/api/note", **headers)[0] == 200
        if scene.provider.count("grant.success", grant="refresh_token") > refreshes:
            break
        browser.driver.execute_async_script("setTimeout(arguments[0], 200)")
    assert browser.fetch("/api/note", **headers)[0] == 200
    renewed = scene.secrets(cookie["value"])
    assert not set(renewed) & set(secrets)
    browser.click("#out button")
    browser.click("button[name=logout]")
    browser.wait("document.getElementById('who')?.textContent.startsWith('nobody, 401')")
    assert browser.driver.current_url == f"{scene.site}/"
    assert browser.fetch("/api/note", **headers)[0] == 401
    browser.storage()
    everything = "\n".join(browser.seen)
    assert "alice of the tests" in everything
    assert cookie["value"] in everything, "the log has headers"
    assert "code=" in everything, "the log has addresses"
    assert not [secret for secret in [*secrets, *renewed] if secret in everything]
    assert not TOKEN.findall(everything)


def test_two_tabs(browser: Chromium, scene: Scene) -> None:
    """Signed in in one, in both; signed out in one, in both."""
    sign_in(browser, scene)
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    browser.open(f"{scene.site}/front")
    browser.wait("document.getElementById('who').textContent === 'alice of the tests'")
    assert browser.fetch("/auth/logout", method="POST", headers={"X-CSRF": "1"})[0] == 200
    browser.driver.switch_to.window(first)
    status, body = browser.fetch("/api/note", headers={"X-CSRF": "1"})
    assert status == 401
    assert '"login": "/auth/login"' in body


FORM = """
const form = document.createElement('form')
form.method = 'post'; form.action = arguments[0]; form.enctype = arguments[1]
const field = document.createElement('input'); field.name = 'a'; field.value = '1'
form.append(field); document.body.append(form); form.submit()
"""


SANDBOXED = """
const frame = document.createElement('iframe'), fields = '<input name=text value=1>'
frame.sandbox = 'allow-forms allow-scripts'
frame.srcdoc = `<form method=post action="${arguments[0]}">${fields}</form><script>document.forms[0].submit()</script>`
document.body.append(frame)
"""


def test_a_form_of_our_own(browser: Chromium, scene: Scene) -> None:
    """Without a script, with the user's token at the service."""
    sign_in(browser, scene)
    scene.relayed.clear()
    browser.click("#write button")
    browser.wait("document.getElementById('who').textContent === 'alice of the tests'")
    assert browser.driver.current_url == f"{scene.site}/front"
    assert scene.relayed == [("POST", f"Bearer {scene.secrets(cookie_of(browser)['value'])[0]}")]


@pytest.mark.parametrize("attacker", ["evil.test", "blog.shop.test"])
def test_other_sites_do_and_read_nothing(browser: Chromium, scene: Scene, attacker: str) -> None:
    """A sub-domain is of the same site, so its requests do bear the cookie."""
    sign_in(browser, scene)
    scene.relayed.clear()
    browser.open(f"https://{attacker}:{scene.port}/")
    target, own = f"{scene.site}/api/note", cookie_of(browser)["value"]
    with_cookies = {"mode": "no-cors", "credentials": "include"}
    browser.fetch(target, method="POST", **with_cookies)
    browser.fetch(target, method="POST", headers={"Content-Type": "text/plain"}, body="{}", **with_cookies)
    browser.fetch(target, **with_cookies)
    asked = {"credentials": "include", "headers": {"X-CSRF": "1"}}
    assert browser.fetch(target, method="POST", **asked)[0] == 0
    assert browser.fetch(target, **asked)[0] == 0
    browser.fetch(f"{scene.site}/auth/logout", method="POST", **with_cookies)
    for enctype in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        for path in ("/api/note", "/notes", "/auth/logout"):
            browser.open(f"https://{attacker}:{scene.port}/")
            browser.driver.execute_script(FORM, scene.site + path, enctype)
            browser.wait(f"location.href === '{scene.site}{path}' && document.readyState === 'complete'")
            assert '"status": 40' in browser.driver.page_source
    # A form in a frame that has no origin.
    browser.open(f"https://{attacker}:{scene.port}/")
    before = scene.asked.count("POST /notes")
    browser.driver.execute_script(SANDBOXED, f"{scene.site}/notes")
    for _ in range(200):
        if scene.asked.count("POST /notes") > before:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the frame sent no form")
    browser.fetch(f"{scene.site}/", mode="no-cors")  # so that what came before has been answered
    assert scene.relayed == []
    # A link is no attack.
    browser.open(f"https://{attacker}:{scene.port}/")
    browser.driver.execute_script(f"location.href = '{scene.site}/front'")
    browser.wait("document.getElementById('who')?.textContent === 'alice of the tests'")
    assert cookie_of(browser)["value"] == own


def test_cookie_tossing(browser: Chromium, scene: Scene) -> None:
    """A sub-domain, and scripts of the site itself, cannot plant a session. Other cookies they can."""
    sign_in(browser, scene)
    own = cookie_of(browser)["value"]
    planted = f"__Host-Http-session={'A' * 43}; Secure; Path=/"
    browser.driver.execute_script("document.cookie = arguments[0]", planted)
    browser.open(f"https://blog.shop.test:{scene.port}/")
    for cookie in (f"{planted}; Domain=shop.test", "tossed=1; Secure; Path=/; Domain=shop.test"):
        browser.driver.execute_script("document.cookie = arguments[0]", cookie)
    browser.open(f"{scene.site}/front")
    assert browser.storage()["cookie"] == "tossed=1"
    assert cookie_of(browser)["value"] == own
    assert browser.fetch("/api/note", headers={"X-CSRF": "1"})[0] == 200


def test_login_csrf_and_fixation(browser: Chromium, scene: Scene, tmp_path: Path) -> None:
    """The attacker's own callback address, in the victim's browser; a session from before, after signing in."""
    browser.open(f"{scene.site}/front")
    state = base64.urlsafe_b64encode(b"x" * 32).rstrip(b"=").decode()
    issuer = quote(scene.provider.issuer, safe="")
    browser.open(f"{scene.site}/auth/callback?code=of-the-attacker&state={state}&iss={issuer}")
    assert '"status": 400' in browser.driver.page_source
    with pytest.raises(ValueError, match="not enough values"):
        cookie_of(browser)
    sign_in(browser, scene)
    before = cookie_of(browser)["value"]
    browser.open(f"{scene.site}/auth/login?return_to=/front")
    browser.click("button[type=submit]")
    assert cookie_of(browser)["value"] != before
    assert asyncio.run(scene.sessions.vault.read(before)) is None


def test_open_redirects(browser: Chromium, scene: Scene) -> None:
    """Whatever the browser makes of them, it stays here."""
    sign_in(browser, scene)
    for trick in ("//evil.test", "/\\evil.test", "/%5Cevil.test", "https://evil.test", "/%09/evil.test"):
        browser.open(f"{scene.site}/auth/login?return_to={quote(trick)}")
        browser.click("button[type=submit]")
        assert browser.driver.current_url == f"{scene.site}/", trick
