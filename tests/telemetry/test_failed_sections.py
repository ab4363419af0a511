"""The log says why a page failed or is degraded; what the services said it does not."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from bff_core import Page, ServiceClient, ServiceSettings, Settings, create_bff, get, optional, required, section
from bff_core.testing import FakeServices, HostileServer, bff_client, refused_port


class Product(BaseModel):
    name: str
    prices: dict[str, int] = {}


class Catalog(ServiceClient, service="catalog"):
    @get("/products/{product_id}")
    async def product(self, product_id: str) -> Product: ...


class Needed(Page):
    product = required(Catalog.product)


class Welcome(Page):
    product = optional(Catalog.product)

    @section(optional=True)
    async def odd(self) -> int | None:
        raise RuntimeError("sesame")

    @section(optional=True)
    def late(self, product: Product | None) -> int | None:
        return 1


async def line(
    page: type[Page], url: str, capsys: pytest.CaptureFixture[str], transport: Any = None, **policy: Any
) -> tuple[str, dict[str, Any]]:
    settings = Settings(services={"catalog": {"url": url, "policy": policy}}, deadline=2)  # type: ignore[dict-item]
    app = create_bff("test", settings=settings, clients=[Catalog], transport=transport)
    app.page("/products/{product_id}", page, public=True)
    async with bff_client(app) as client:
        answer = await client.get("/products/p1")
    out = capsys.readouterr().out
    lines = [json.loads(each) for each in out.splitlines()]
    return out + answer.text, next(each for each in lines if each["event"] == "request")


def played(**answer: Any) -> tuple[str, httpx.AsyncBaseTransport]:
    services = FakeServices("catalog")
    services["catalog"].get("/products/p1").respond(**answer)
    return "http://catalog.test", services.transport


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status_code": 500, "text": "sesame"}, {"kind": "unexpected_status", "status": 500}),
        ({"status_code": 422, "json": {"detail": "sesame"}}, {"kind": "unexpected_status", "status": 422}),
        ({"html": "<p>sesame"}, {"kind": "bad_response", "detail": "1 errors, first at '/': json_invalid"}),
        ({"json": {"name": ["sesame"]}}, {"kind": "bad_response", "detail": "1 errors, first at '/name': string_type"}),
        (
            {"json": {"name": "a", "prices": {"sesame": "sesame"}}},
            {"kind": "bad_response", "detail": "1 errors, first at '/prices/*': int_parsing"},
        ),
    ],
)
async def test_a_required_section(
    answer: dict[str, Any], reason: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Service, operation, what kind of failure, and where; nothing of what the service said."""
    url, transport = played(**answer)
    shown, logged = await line(Needed, url, capsys, transport)
    assert logged["status"] == 502
    assert logged["failed"] == {"product": {"service": "catalog", "operation": "product", **reason}}
    assert "sesame" not in shown


async def test_a_degraded_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Each that failed itself; of an author's error the type, its words are in a line of their own."""
    url, transport = played(status_code=503)
    _, logged = await line(Welcome, url, capsys, transport)
    assert logged["status"] == 200
    assert logged["failed"] == {
        "odd": {"kind": "RuntimeError"},
        "product": {"kind": "unexpected_status", "service": "catalog", "operation": "product", "status": 503},
    }


async def test_nothing_of_a_page_that_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    """The line is as it was."""
    url, transport = played(json={"name": "Lamp"})
    assert "failed" not in (await line(Needed, url, capsys, transport))[1]


async def test_connections(capsys: pytest.CaptureFixture[str]) -> None:
    """What the wire says, with the address but without credentials."""
    _, logged = await line(Needed, f"http://127.0.0.1:{refused_port()}", capsys)
    reason = logged["failed"]["product"]
    assert (reason["kind"], reason["service"]) == ("connect_failed", "catalog")
    assert "ConnectionRefusedError" in reason["detail"]
    async with HostileServer() as server:
        _, logged = await line(Needed, f"{server.url}/never", capsys, timeout=0.05)
        assert logged["failed"]["product"]["kind"] == "timeout"
        server.release.set()


async def test_a_pass_through_route(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for what no page is behind."""
    settings = Settings(services={"catalog": {"url": f"http://127.0.0.1:{refused_port()}"}})  # type: ignore[dict-item]
    app = create_bff("test", settings=settings, clients=[Catalog])
    app.proxy("/media/{path:path}", service="catalog", to="/{path}", public=True)
    async with bff_client(app) as client:
        assert (await client.get("/media/x")).status_code == 503
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    logged = next(each for each in lines if each["event"] == "request")
    assert logged["failed"]["proxy"]["kind"] == "connect_failed"
    assert logged["failed"]["proxy"]["service"] == "catalog"


async def test_an_answer_that_breaks_off(capsys: pytest.CaptureFixture[str]) -> None:
    """Its status was sent; that it was not all is said as well."""
    async with HostileServer() as server:
        settings = Settings(services={"catalog": ServiceSettings(url=server.url)})
        app = create_bff("test", settings=settings, clients=[Catalog])
        app.proxy("/media/{path:path}", service="catalog", to="/{path}", public=True)
        async with bff_client(app) as client:
            await client.get("/media/close-mid-chunk")
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    logged = next(each for each in lines if each["event"] == "request")
    assert (logged["status"], logged["failed"]["proxy"]["kind"]) == (200, "connection_lost")


async def test_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    """There is one line for all of it; each failure stands under its page's route."""
    url, transport = played(status_code=500)
    settings = Settings(services={"catalog": {"url": url}})  # type: ignore[dict-item]
    app = create_bff("test", settings=settings, clients=[Catalog], transport=transport)
    app.page("/products/{product_id}", Needed, public=True)
    app.batch("/batch")
    async with bff_client(app) as client:
        assert (await client.post("/batch", json={"items": [{"path": "/products/p1"}]})).status_code == 200
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    logged = next(each for each in lines if each["event"] == "request")
    assert logged["failed"]["/products/{product_id} product"]["status"] == 500
