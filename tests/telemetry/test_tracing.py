"""Spans: who is whose child, what is sampled, and what arrives at a collector."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from bff_core import Bff
from bff_core.telemetry import Tracer, from_span, make_tracer, read_trace, tracing
from bff_core.testing import FakeServices, bff_client
from tests.ops.shop import make_gateway, play, visit

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


@pytest.fixture
def services() -> FakeServices:
    return play()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def traced(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter, ratio: float = 0.0
) -> Bff:
    """The gateway, exporting to memory."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    app = make_gateway(services, trace_ratio=ratio)
    tracer = app.operations.tracer
    assert tracer is not None
    start = tracer.start
    monkeypatch.setattr(tracer, "start", lambda: start(SimpleSpanProcessor(exporter)))
    return app


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def own(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_page_sections_attempts(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    """The caller's span, the page, its sections, their attempts; services are told the attempt's span."""
    app = traced(services, monkeypatch, exporter)
    async with bff_client(app) as client:
        answer = await client.get("/products/p1", headers=SAMPLED)
    assert answer.status_code == 200
    spans = exporter.get_finished_spans()
    (page,) = [span for span in spans if span.kind is SpanKind.SERVER]
    sections = {span.name: span for span in spans if span.kind is SpanKind.INTERNAL}
    attempts = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert {span.context.trace_id for span in spans if span.context} == {int(TRACE, 16)}
    assert page.name == "GET /products/{product_id}"
    assert parent(page) == int(PARENT, 16)
    assert page.parent is not None
    assert page.parent.is_remote
    assert dict(page.attributes or {}) == {
        "http.request.method": "GET", "http.response.status_code": 200, "http.route": "/products/{product_id}"
    }  # fmt: skip
    assert set(sections) == {"product", "reviews", "pair"}
    assert {parent(span) for span in sections.values()} == {own(page)}
    whose = {own(span): name for name, span in sections.items()}
    assert sorted((whose[parent(span) or 0], span.name) for span in attempts) == [
        ("pair", "GET /products"),
        ("product", "GET /products/{product_id}"),
        ("reviews", "GET /products/{product_id}/reviews"),
    ]
    for span in [*sections.values(), *attempts]:
        assert page.start_time <= span.start_time <= span.end_time <= page.end_time  # type: ignore[operator]
    told = {request.headers["traceparent"] for request in services.requests}
    assert told == {f"00-{TRACE}-{own(span):016x}-01" for span in attempts}
    assert {request.headers["tracestate"] for request in services.requests} == {"vendor=1"}
    assert {span.resource.attributes["service.name"] for span in spans} == {"tested"}
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}


async def test_a_retry_is_a_span_of_its_own(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    """Both attempts fail and say how; the section has the error, the page is degraded and well."""
    app = traced(services, monkeypatch, exporter)
    async with bff_client(app) as client:
        await client.get("/products/broken-1", headers=SAMPLED)
    spans = exporter.get_finished_spans()
    failed = [span for span in spans if span.name == "GET /products/{product_id}/reviews"]
    assert [span.status.status_code for span in failed] == [StatusCode.ERROR] * 2
    assert [(span.attributes or {}).get("http.request.resend_count") for span in failed] == [None, 1]
    assert {(span.attributes or {})["error.type"] for span in failed} == {"5xx"}
    assert {(span.attributes or {})["http.response.status_code"] for span in failed} == {500}
    (reviews,) = [span for span in spans if span.name == "reviews"]
    assert (reviews.attributes or {})["error.type"] == "unexpected_status"
    (page,) = [span for span in spans if span.kind is SpanKind.SERVER]
    assert (page.attributes or {})["bff.degraded"] == ["reviews"]
    assert page.status.status_code is StatusCode.UNSET
    assert not any("broken-1" in str(dict(span.attributes or {})) + span.name for span in spans)


async def test_what_was_cancelled_ends_with_its_page(
    monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    """A required section fails while another one waits: its spans are there, ended, and say so."""
    services = FakeServices("catalog", "reviews")

    released = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        await released.wait()
        return httpx.Response(200, json=[])

    services["catalog"].get("/products/p1").respond(404)
    services["reviews"].get("/products/p1/reviews").mock(side_effect=slow)
    app = traced(services, monkeypatch, exporter)
    async with bff_client(app) as client:
        assert (await client.get("/products/p1", headers=SAMPLED)).status_code == 404
        released.set()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    for name in ("reviews", "GET /products/{product_id}/reviews"):
        assert (spans[name].attributes or {})["error.type"] == "cancelled"
    assert parent(spans["GET /products/{product_id}/reviews"]) == own(spans["reviews"])
    assert (spans["GET /products/{product_id}"].attributes or {}).get("error.type") in (None, "4xx")


async def test_not_sampled(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    """Nothing is recorded for a caller who does not sample, nor at ratio 0 without one; services are told as before."""
    app = traced(services, monkeypatch, exporter, ratio=0.0)
    async with bff_client(app) as client:
        await client.get("/products/p1", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        await client.get("/products/p2")
    assert exporter.get_finished_spans() == ()
    assert {request.headers["traceparent"][-2:] for request in services.requests} == {"00"}


async def test_everything_without_a_caller_is_sampled_at_one(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    """A root of its own, which the services hear of; a caller's no is still a no."""
    app = traced(services, monkeypatch, exporter, ratio=1.0)
    async with bff_client(app) as client:
        await client.get("/products/p1")
        await client.get("/products/p2", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    (page,) = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert page.parent is None
    assert page.context is not None
    assert page.context.trace_id != int(TRACE, 16)
    flags = [request.headers["traceparent"][-2:] for request in services.requests]
    assert sorted(set(flags)) == ["00", "01"]


@given(st.binary(min_size=16, max_size=16), st.sampled_from([0.0, 0.1, 0.5, 0.999, 1.0]))
def test_the_ratio_is_opentelemetrys(trace_id: bytes, ratio: float) -> None:
    """The same trace ids are sampled as by any other of its SDKs."""
    below = Tracer("gateway", ratio).below
    decision = TraceIdRatioBased(ratio).should_sample(None, int.from_bytes(trace_id), "name").decision
    assert (int.from_bytes(trace_id[8:]) < below) == decision.is_sampled()


@given(st.sampled_from(["00", "01", "02", "03", "ff"]), st.integers(0, 2**64 - 1))
def test_a_callers_flags_decide(flags: str, below: int) -> None:
    """The sampled bit is theirs, the other bits are passed on."""
    trace = read_trace([(b"traceparent", f"00-{TRACE}-{PARENT}-{flags}".encode())], below)
    assert trace.sampled == bool(int(flags, 16) & 1)
    assert trace.parent_id == PARENT
    assert f"-{flags}\r\n".encode() in trace.headers
    span = secrets.token_hex(8)
    told = from_span(trace.headers, span)
    assert told == trace.headers.replace(trace.span_id.encode(), span.encode())


def test_without_an_endpoint_there_is_no_tracer() -> None:
    """Nor when OpenTelemetry is switched off."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert make_tracer("gateway", 1.0, {}) is None
    assert make_tracer("gateway", 1.0, {**endpoint, "OTEL_SDK_DISABLED": "true"}) is None
    assert make_tracer("gateway", 1.0, endpoint) is not None


def test_without_the_extra_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway starts all the same."""
    said: list[dict[str, str]] = []
    monkeypatch.setattr(tracing.log, "warning", lambda _, **words: said.append(words), raising=False)
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    assert make_tracer("gateway", 1.0, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}) is None
    assert said == [{"remedy": "pip install bff-core[opentelemetry]"}]


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A real OTLP/HTTP receiver."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_over_otlp(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector gets the spans when the gateway stops at the latest, under the name it was given."""
    with collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "bff-tested")
        app = make_gateway(services, trace_ratio=1.0)
        async with bff_client(app) as client:
            await visit(client, "p1")
    spans = [
        span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert len(spans) == 7
    names = {
        attribute.value.string_value
        for request in received
        for resource in request.resource_spans
        for attribute in resource.resource.attributes
        if attribute.key == "service.name"
    }
    assert names == {"bff-tested"}
    ids = {span.span_id for span in spans}
    assert [span.name for span in spans if span.parent_span_id not in ids] == ["GET /products/{product_id}"]


async def test_a_dead_collector_costs_no_page(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are answered, and the gateway stops in time."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setattr("bff_core.telemetry.tracing.FLUSH", 0.2)
    app = make_gateway(services, trace_ratio=1.0)
    async with bff_client(app) as client:
        for number in range(20):
            assert (await visit(client, f"p{number}")).status_code == 200
