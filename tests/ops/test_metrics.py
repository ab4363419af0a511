"""What is counted, under which names and labels."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bff_core import Bff, Policy
from bff_core.ops.exposition import make_exposition
from bff_core.ops.metrics import METRICS, collect
from bff_core.pages import run
from bff_core.telemetry import Histogram, meters
from bff_core.testing import FakeServices, bff_client
from tests.ops.shop import KEY, make_gateway, play, visit

ROOT = Path(__file__).parents[2]
PRODUCT = ("GET", "/products/{product_id}")
BASE_UNITS = ("_seconds", "_bytes")
NOT_BASE = ("_milliseconds", "_ms", "_minutes", "_hours", "_kilobytes", "_megabytes", "_percent")


@pytest.fixture
def services() -> FakeServices:
    return play()


@pytest.fixture
def app(services: FakeServices) -> Bff:
    return make_gateway(services)


@pytest.fixture
async def client(app: Bff) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(app) as client:
        yield client


def values(app: Bff) -> dict[tuple[str, ...], float]:
    """Every sample by its name and labels; of a histogram how many it saw."""
    found: dict[tuple[str, ...], float] = {}
    for name, labels, value in collect(app.operations.gateway):
        assert (name, *labels) not in found, "a series twice"
        found[name, *labels] = sum(value.counts) if isinstance(value, Histogram) else value
    return found


def test_the_states_of_a_section_are_those_of_a_run() -> None:
    """A run's states index a meter's outcomes."""
    assert (run.RUNNING, run.DONE, run.SKIPPED, run.FAILED) == (
        meters.CANCELLED,
        meters.DONE,
        meters.SKIPPED,
        meters.FAILED,
    )


async def test_a_page_counts_itself_its_sections_and_its_calls(app: Bff, client: httpx.AsyncClient) -> None:
    """One whole page: rate, errors, duration on every level."""
    assert (await visit(client, "p1")).status_code == 200
    seen = values(app)
    assert seen["bff_requests_total", *PRODUCT, "200"] == 1
    assert seen["bff_request_duration_seconds", *PRODUCT] == 1
    assert seen["bff_requests_in_flight", *PRODUCT] == 0
    assert seen["bff_requests_degraded_total", *PRODUCT] == 0
    for section in ("product", "reviews", "pair"):
        assert seen["bff_sections_total", *PRODUCT, section, "ok"] == 1
        assert seen["bff_section_duration_seconds", *PRODUCT, section] == 1
    assert seen["bff_service_calls_total", "catalog", "product", "ok"] == 1
    assert seen["bff_service_attempts_total", "catalog", "product", "ok"] == 1
    assert seen["bff_service_attempt_duration_seconds", "catalog", "product"] == 1
    assert seen["bff_endpoint_attempts_total", "catalog", "catalog.test", "ok"] == 2
    assert seen["bff_batched_lookups_total", "catalog", "products"] == 1
    assert seen["bff_circuit_state", "catalog", "closed"] == 1
    assert seen["bff_gateway_info", "tested", app.operations.gateway.version] == 1
    assert seen["bff_service_in_flight", "catalog"] == 0
    assert seen["bff_service_in_flight_limit", "catalog"] == Policy().bulkhead
    assert seen["bff_service_retry_budget", "catalog"] >= 100


async def test_failures(app: Bff, client: httpx.AsyncClient) -> None:
    """A failed optional section degrades its page and was tried twice; a missing required one is a 404."""
    assert (await visit(client, "broken-1")).json()["_degraded"] == ["reviews"]
    assert (await visit(client, "absent-1")).status_code == 404
    seen = values(app)
    assert seen["bff_requests_total", *PRODUCT, "404"] == 1
    assert seen["bff_requests_degraded_total", *PRODUCT] == 1
    assert seen["bff_sections_total", *PRODUCT, "reviews", "fallback"] == 1
    assert seen["bff_sections_total", *PRODUCT, "product", "failed"] == 1
    assert seen["bff_sections_total", *PRODUCT, "pair", "ok"] == 1
    assert seen["bff_service_attempts_total", "reviews", "of_product", "5xx"] == 2
    assert seen["bff_service_calls_total", "reviews", "of_product", "unexpected_status"] == 1
    assert seen["bff_service_attempts_total", "catalog", "product", "4xx"] == 1
    assert seen["bff_endpoint_attempts_total", "catalog", "catalog.test", "error"] == 0
    assert seen["bff_endpoint_attempts_total", "reviews", "reviews.test", "error"] == 2
    assert seen["bff_events_total", "reviews", "of_product", "OnRetry"] == 1
    assert seen["bff_events_total", "reviews", "of_product", "OnFallback"] == 1


async def test_an_open_circuit(app: Bff, client: httpx.AsyncClient) -> None:
    """Its state is a gauge, its changes and refusals are events; what is refused is a call but no attempt."""
    for number in range(15):
        await visit(client, f"broken-{number}")
    seen = values(app)
    assert seen["bff_circuit_state", "reviews", "open"] == 1
    assert seen["bff_circuit_state", "reviews", "closed"] == 0
    assert seen["bff_events_total", "reviews", "", "OnCircuitOpened"] == 1
    attempts = seen["bff_service_attempts_total", "reviews", "of_product", "5xx"]
    refused = seen["bff_service_calls_total", "reviews", "of_product", "circuit_open"]
    assert attempts == 20
    assert refused == seen["bff_sections_total", *PRODUCT, "reviews", "fallback"] - 10


async def test_private_pages_stale_and_skipped_sections(
    app: Bff, client: httpx.AsyncClient, services: FakeServices
) -> None:
    """A last good value is `stale`, a section whose condition is not met `skipped`, a 401 is counted on its route."""
    assert (await client.get("/mine")).status_code == 401
    assert (await client.get("/mine", headers={"x-api-key": KEY})).status_code == 200
    services["reviews"].routes.clear()
    services["reviews"].get("/products/acme/reviews").respond(500)
    assert (await client.get("/mine", headers={"x-api-key": KEY})).json()["_degraded"] == ["seen"]
    seen = values(app)
    assert seen["bff_requests_total", "GET", "/mine", "401"] == 1
    assert seen["bff_sections_total", "GET", "/mine", "seen", "ok"] == 1
    assert seen["bff_sections_total", "GET", "/mine", "seen", "stale"] == 1
    assert seen["bff_sections_total", "GET", "/mine", "maybe", "skipped"] == 2
    assert seen["bff_sections_total", "GET", "/mine", "who", "ok"] == 2
    assert seen["bff_requests_degraded_total", "GET", "/mine"] == 1


async def test_the_cache(app: Bff, client: httpx.AsyncClient) -> None:
    """The second look at a product is a hit; both are seen, and what is kept."""
    await visit(client, "p1")
    await visit(client, "p1")
    seen = values(app)
    assert seen["bff_cache_requests_total", "catalog", "product", "miss"] == 1
    assert seen["bff_cache_requests_total", "catalog", "product", "hit"] == 1
    assert seen["bff_cache_bytes",] > 0
    assert seen["bff_cache_entries",] == 1


async def test_whole_pages_and_what_is_passed_through(app: Bff, client: httpx.AsyncClient) -> None:
    """A page from the cache is a request without sections; a pass-through route is counted by its template."""
    for _ in range(2):
        assert (await client.get("/kept/p1")).status_code == 200
    assert (await client.get("/raw/p1")).status_code == 200
    seen = values(app)
    assert seen["bff_requests_total", "GET", "/kept/{product_id}", "200"] == 2
    assert seen["bff_requests_cached_total", "GET", "/kept/{product_id}"] == 1
    assert seen["bff_sections_total", "GET", "/kept/{product_id}", "product", "ok"] == 1
    assert seen["bff_requests_total", "GET", "/raw/{product_id}", "200"] == 1
    assert seen["bff_requests_in_flight", "GET", "/raw/{product_id}"] == 0


async def test_shed_requests_and_strangers(app: Bff, client: httpx.AsyncClient) -> None:
    """A refused request is counted on its route; what is no page is `other`, whatever it is called."""
    app.shedder.level = 2.9
    assert (await visit(client, "p1")).status_code == 503
    app.shedder.level = 0.0
    assert (await client.get(f"/{secrets.token_hex(8)}")).status_code == 404
    await client.request("BREW", "/health/live")
    seen = values(app)
    assert seen["bff_requests_shed_total", *PRODUCT] == 1
    assert seen["bff_requests_in_flight", *PRODUCT] == 0
    assert seen["bff_requests_total", "any", "other", "404"] == 1
    assert seen["bff_requests_total", "any", "other", "405"] == 1
    assert not any("BREW" in labels for labels in seen)


async def test_limits(app: Bff, client: httpx.AsyncClient) -> None:
    """What a limit denied is counted by its name, on every route that it is on."""
    answers = [(await client.get("/limited/p1")).status_code for _ in range(5)]
    assert answers == [200, 200, 429, 429, 429]
    seen = values(app)
    assert seen["bff_limit_denied_total", "two"] == 3
    assert seen["bff_requests_total", "GET", "/limited/{product_id}", "429"] == 3


async def test_while_it_runs_and_when_it_is_too_late(services: FakeServices) -> None:
    """What is in flight is a gauge; identical calls under way are one; a deadline that passed is counted."""
    released = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        await released.wait()
        return httpx.Response(200, json=[5])

    services["reviews"].routes.clear()
    services["reviews"].get(path__regex="^/products/.*$").mock(side_effect=slow)
    app = make_gateway(services, deadline=0.3)
    async with bff_client(app) as client:
        pages = [asyncio.create_task(visit(client, "p1")) for _ in range(2)]
        while services.count("reviews") == 0:
            await asyncio.sleep(0.001)
        seen = values(app)
        assert seen["bff_requests_in_flight", *PRODUCT] == 2
        assert seen["bff_service_in_flight", "reviews"] == 1
        assert seen["bff_endpoint_in_flight", "reviews", "reviews.test"] == 1
        assert seen["bff_coalesced_calls_total", "reviews"] == 1
        assert [page.status_code for page in await asyncio.gather(*pages)] == [200, 200]
        seen = values(app)
        assert seen["bff_requests_in_flight", *PRODUCT] == 0
        assert seen["bff_requests_deadline_exceeded_total", *PRODUCT] == 2
        assert seen["bff_service_attempts_total", "reviews", "of_product", "timeout"] == 1
        released.set()


async def test_several_addresses(services: FakeServices) -> None:
    """Each has its own attempts, and says whether it is asked."""
    services.settings["reviews"]["url"] += ",http://catalog.test"  # where nobody knows of reviews
    app = make_gateway(services)
    async with bff_client(app) as client:
        for number in range(40):
            await visit(client, f"p{number}")
        assert services.unexpected
    seen = values(app)
    good = seen["bff_endpoint_attempts_total", "reviews", "reviews.test", "ok"]
    bad = seen["bff_endpoint_attempts_total", "reviews", "catalog.test", "error"]
    assert good >= 20
    assert bad >= 1
    assert seen["bff_endpoint_attempt_duration_seconds", "reviews", "catalog.test"] == bad
    assert seen["bff_endpoint_up", "reviews", "reviews.test"] == 1
    attempts = sum(count for key, count in seen.items() if key[:2] == ("bff_service_attempts_total", "reviews"))
    assert attempts == good + bad


async def test_no_label_has_what_a_request_brings(app: Bff, client: httpx.AsyncClient) -> None:
    """A hundred requests with random ids make the series of one, and none of the ids is in any of them."""
    render = make_exposition(app.operations.gateway)
    assert render is not None
    for prefix in ("p", "broken-", "absent-"):
        await visit(client, f"{prefix}first")
    assert (await client.get("/mine", headers={"x-api-key": KEY})).status_code == 200
    before = {key for key, value in values(app).items() if value}
    ids = [secrets.token_hex(8) for _ in range(30)]
    for id_ in ids:
        for prefix in ("p", "broken-", "absent-"):
            await visit(client, prefix + id_)
        await client.get(f"/kept/{id_}")
        await client.get(f"/raw/{id_}")
        await client.get("/mine", headers={"x-api-key": KEY})
    body = render("text/plain")[0].decode()
    assert not [id_ for id_ in [*ids, "acme", "request-", "agent-"] if id_ in body]
    grown = {key[0] for key in values(app)} - {key[0] for key in before}
    assert grown <= set(METRICS)
    routes = {labels["route"] for labels in labels_of(body) if "route" in labels}
    assert routes == {
        "/products/{product_id}",
        "/kept/{product_id}",
        "/mine",
        "/raw/{product_id}",
        "/limited/{product_id}",
        "other",
    }


def labels_of(body: str) -> list[dict[str, str]]:
    return [sample.labels for family in parse_text(body) for sample in family.samples]


async def test_both_formats_are_what_their_parsers_expect(app: Bff, client: httpx.AsyncClient) -> None:
    """Text and OpenMetrics, by the Accept header; with the process's own."""
    await visit(client, "p1")
    render = make_exposition(app.operations.gateway)
    assert render is not None
    text, content_type = render("text/plain")
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in parse_text(text.decode())}
    assert "process_cpu_seconds" in families
    assert {"bff_requests", "bff_request_duration_seconds", "bff_circuit_state"} <= set(families)
    (total,) = [
        sample.value
        for sample in families["bff_request_duration_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["route"] == PRODUCT[1]
    ]
    assert total == 1
    text, content_type = render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert "bff_requests" in {family.name for family in parse_openmetrics(text.decode())}


async def test_names_are_as_prometheus_wants_them(app: Bff, client: httpx.AsyncClient) -> None:
    """What `promtool check metrics` looks at, and each metric that there is has been seen."""
    await visit(client, "p1")
    await visit(client, "broken-1")
    for name, metric in METRICS.items():
        assert re.fullmatch(r"bff_[a-z]+(_[a-z]+)*", name), name
        assert metric.help[0].isupper(), name
        assert metric.help.endswith("."), name
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert not name.endswith(("_count", "_sum", "_bucket", *NOT_BASE)), name
        assert metric.kind != "histogram" or name.endswith(BASE_UNITS), name
        assert not set(name.split("_")) & {"counter", "gauge", "histogram", "summary"}, name
        assert not {"le", "quantile", "job", "instance"} & set(metric.labels), name
        assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in metric.labels), name
        assert len(set(metric.labels)) == len(metric.labels), name
    assert {name for name, *_ in values(app)} == set(METRICS)
    for name, labels, _ in collect(app.operations.gateway):
        assert len(labels) == len(METRICS[name].labels), name


def test_the_table_of_metrics_is_the_code() -> None:
    """docs/operations.md has each metric with its kind, labels and meaning, and no other."""
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(bff_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert {row[0]: row[1:] for row in rows} == {
        name: (metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for name, metric in METRICS.items()
    }
