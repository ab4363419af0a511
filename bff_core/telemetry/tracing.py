"""OpenTelemetry: the spans of sampled requests, exported over OTLP. An extra of the framework.

Spans are plain records until their request has ended; only then, and only if it is sampled, they become the SDK's.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from .spans import Span, Spans
from .trace import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

__all__ = ["Tracer", "make_tracer"]

log = structlog.get_logger("bff.tracing")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH = 5.0


def make_tracer(gateway: str, ratio: float, environ: Mapping[str, str] = os.environ) -> Tracer | None:
    """What exports this gateway's spans, when the environment says where to (``OTEL_EXPORTER_OTLP_ENDPOINT``).

    Without the extra that is said in the log, and requests are served without.
    """
    if not any(environ.get(name) for name in ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415 - an extra
        import opentelemetry.sdk.trace  # noqa: F401, PLC0415
    except ImportError:
        log.warning("tracing.missing", remedy="pip install bff-core[opentelemetry]")
        return None
    return Tracer(gateway, ratio)


class Tracer:
    """Samples requests and exports their spans. ``below`` is the bound for the lower half of a trace id under which a
    request that nobody above decided about is sampled (OpenTelemetry, TraceIdRatioBased)."""

    def __init__(self, gateway: str, ratio: float) -> None:
        self.below = round(ratio * 2**64)
        self._gateway = gateway
        self._processor: SpanProcessor | None = None

    def start(self, processor: SpanProcessor | None = None) -> None:
        """Begin to export: over OTLP/HTTP as the ``OTEL_…`` variables say, or to ``processor``."""
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        if processor is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

            processor = BatchSpanProcessor(OTLPSpanExporter())
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: self._gateway}))
        self._resource, self._scope = resource, InstrumentationScope("bff_core")
        self._processor = processor

    async def aclose(self) -> None:
        """Export what is left, within five seconds."""
        processor, self._processor = self._processor, None
        if processor is None:
            return
        # It waits for the network, so not on the loop; and nobody waits for it longer, as would be for an executor's.
        thread = threading.Thread(target=processor.shutdown, daemon=True)
        thread.start()
        until = time.monotonic() + FLUSH
        while thread.is_alive() and time.monotonic() < until:  # noqa: ASYNC110 - a thread has no event for the loop
            await asyncio.sleep(0.02)
        if thread.is_alive():
            log.warning("tracing.unflushed", seconds=FLUSH)

    def begin(self, trace: Trace) -> Spans | None:
        """The record of a request; None when it is not sampled."""
        return Spans(trace.span_id, trace.parent_id) if trace.sampled else None

    def finish(
        self,
        spans: Spans,
        trace_id: str,
        name: str,
        started: float,
        attributes: Mapping[str, object],
        error: str | None,
    ) -> None:
        """The request has ended: hand its spans over. ``name`` and ``attributes`` are of its own span."""
        processor, now = self._processor, time.monotonic()
        if processor is None:
            return
        root = Span(name, "server", spans.span_id, spans.parent_id, started)
        root.attributes |= attributes  # type: ignore[arg-type]  # checked where they are made
        root.end(now, error)
        # One offset for the whole request, so that spans do not shift against each other.
        offset = time.time() - now
        for span in [*spans.records, root]:
            if span.ended is None:
                span.end(now, "cancelled")
            processor.on_end(self._readable(span, trace_id, offset))

    def _readable(self, span: Span, trace_id: str, offset: float) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - an extra
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags  # noqa: PLC0415

        trace, sampled = int(trace_id, 16), TraceFlags(TraceFlags.SAMPLED)
        parent = None
        if span.parent_id is not None:
            parent = SpanContext(trace, int(span.parent_id, 16), is_remote=span.kind == "server", trace_flags=sampled)
        if span.error is not None:
            span.attributes["error.type"] = span.error
        return ReadableSpan(
            span.name,
            context=SpanContext(trace, int(span.span_id, 16), is_remote=False, trace_flags=sampled),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind[span.kind.upper()],
            status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR),
            start_time=int((span.started + offset) * 1e9),
            end_time=int(((span.ended or span.started) + offset) * 1e9),
            instrumentation_scope=self._scope,
        )
