"""A mistake in a test is told as such, not as a page without its service."""

from __future__ import annotations

import pytest

from bff_core import Bff, Page, ServiceClient, Settings, create_bff, get, required
from bff_core.testing import FakeServices, bff_client


class Catalog(ServiceClient, service="Catalog"):
    @get("/products/{product_id}")
    async def product(self, product_id: str) -> str: ...


class ProductPage(Page):
    product = required(Catalog.product)


def gateway(services: FakeServices, url: str = "http://catalog.test") -> Bff:
    settings = Settings(services={"Catalog": {"url": url}}, log_level="CRITICAL")  # type: ignore[dict-item]
    app = create_bff("test", settings=settings, clients=[Catalog], transport=services.transport)
    app.page("/products/{product_id}", ProductPage, public=True)
    return app


async def test_a_wrong_path_is_named() -> None:
    """With what was declared instead."""
    services = FakeServices("Catalog")
    services["Catalog"].get("/product/p1").respond(json="Lamp")
    with pytest.raises(AssertionError, match=r"GET http://catalog\.test/products/p1: declared is .*/product/p1"):
        async with bff_client(gateway(services)) as client:
            assert (await client.get("/products/p1")).status_code == 502


async def test_the_error_of_a_test_has_it_as_a_note() -> None:
    """The test fails as it would, and says why."""

    async def wrong() -> None:
        async with bff_client(gateway(FakeServices("Catalog"))) as client:
            answer = await client.get("/products/p1")
            assert answer.status_code == 200, answer.text

    with pytest.raises(AssertionError, match="gave no usable answer") as failed:
        await wrong()
    assert "GET http://catalog.test/products/p1: declared is nothing" in failed.value.__notes__[0]


async def test_a_service_that_is_not_played_is_named() -> None:
    """Not answered by an error of the test's own tools."""
    services = FakeServices("reviews")
    with pytest.raises(AssertionError, match=r"this service is not played \(reviews\)"):
        async with bff_client(gateway(services)) as client:
            assert (await client.get("/products/p1")).status_code == 502


async def test_who_looks_at_them_knows_of_them() -> None:
    """So a test of what is not there need not declare it."""
    services = FakeServices("Catalog")
    async with bff_client(gateway(services)) as client:
        assert (await client.get("/products/p1")).status_code == 502
        assert [request.url.path for request in services.unexpected] == ["/products/p1"]


async def test_names_with_capitals() -> None:
    """Are played as any other, whatever a URL makes of them."""
    services = FakeServices("Catalog")
    services["Catalog"].get("/products/p1").respond(json="Lamp")
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("test", settings=settings, clients=[Catalog], transport=services.transport)
    app.page("/products/{product_id}", ProductPage, public=True)
    async with bff_client(app) as client:
        assert (await client.get("/products/p1")).json() == {"product": "Lamp"}
    assert services.count("Catalog") == 1
