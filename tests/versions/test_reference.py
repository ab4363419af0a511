"""The documentation of a version, for people."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from pydantic import BaseModel, Field

from bff_core import ApiKeys, EventType, Page, Settings, Webhooks, WebhookSettings, create_bff, section, shape
from bff_core.testing import bff_client

from .shapes import HISTORY, Contact, Customer, Money, Part

CUSTOMER = Customer(
    id="c1",
    first_name="ada",
    last_name="byron",
    state="open",
    balance=Money(amount=5, currency="EUR"),
    contact=Contact(email="a@b", city="London"),
    parts=[Part(sku="s", weight_g=3)],
    vip=False,
)


class Hostile(BaseModel):
    text: str = Field("", description="<script>alert(1)</script>")


class CustomerPage(Page):
    """A customer <b>."""

    @section
    def found(self, customer_id: str) -> Customer:
        return CUSTOMER

    @shape
    def customer(self, found: Customer) -> Customer:
        return found


class HostilePage(Page):
    @section
    def view(self) -> Hostile:
        return Hostile()


class Well(HTMLParser):
    """Counts what is there; every link within the page leads somewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if found.get("href"):
            self.links.append(found["href"] or "")


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
async def test_a_page_for_each_version(version: str, tmp_path: object) -> None:
    """Its endpoints, models, webhooks and what is new, as that version has them; nothing that runs."""
    settings = WebhookSettings.model_validate({"url": f"sqlite:///{tmp_path}/w.db", "keys": ["s" * 43]})
    told = EventType("customer.updated", Customer, "A customer has changed.", CUSTOMER)
    app = create_bff("shop", settings=Settings(), clients=[], versions=HISTORY, auth=ApiKeys([]))
    app.page("/customers/{customer_id}", CustomerPage, public=True)
    app.page("/hostile", HostilePage, public=True)
    Webhooks(settings, events=[told], versions=HISTORY).mount(app, dispatchers=0)
    async with bff_client(app) as client:
        answer = await client.get(f"/docs/{version}")
        document = (await client.get(f"/openapi/{version}.json")).json()
        assert (await client.get("/docs/v9")).status_code == 404
    text = answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in (page := Well(text)).tags
    assert "A customer &lt;b&gt;." in text
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert f"GET /{version}/customers/{{customer_id}}" in text
    assert ("last_name" in text) == (version == "v3")
    example = re.search(r"<code>customer.updated</code>.*?<pre>(.*?)</pre>", text, re.DOTALL)
    assert example
    assert ("weight_g&quot;: &quot;3&quot;" in example[1]) == (version == "v1")
    event = document["components"]["schemas"]["CustomerUpdatedEvent"]
    name = event["properties"]["data"]["$ref"].rpartition("/")[2]
    assert ("name" in document["components"]["schemas"][name]["properties"]) == (version != "v3")
