"""Metrics as Prometheus reads them: text or OpenMetrics, by prometheus-client. An extra of the framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from ..telemetry import Histogram
from ..telemetry.meters import BOUNDS
from .gateway import Gateway
from .metrics import METRICS, collect

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Render", "make_exposition"]

Render = Callable[[str], tuple[bytes, str]]
"""From an ``Accept`` header to the body and its content type."""

LE = [*(str(bound) for bound in BOUNDS), "+Inf"]


def make_exposition(gateway: Gateway) -> Render | None:
    """What renders the gateway's metrics and the process's; None without the extra ``metrics``."""
    try:
        from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector  # noqa: PLC0415 - an extra
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415
        from prometheus_client.registry import Collector  # noqa: PLC0415
    except ImportError:
        return None

    class GatewayCollector(Collector):
        def collect(self) -> Iterable[Metric]:
            return families(gateway)

    registry = CollectorRegistry()
    registry.register(GatewayCollector())
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)

    def render(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return render


def families(gateway: Gateway) -> list[Metric]:
    """The gateway's metrics as prometheus-client has them."""
    from prometheus_client.core import (  # noqa: PLC0415 - an extra
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    found: dict[str, Metric] = {}
    for name, labels, value in collect(gateway):
        metric = METRICS[name]
        family = found.get(name)
        if family is None:
            family = found[name] = kinds[metric.kind](name, metric.help, labels=metric.labels)
        if isinstance(value, Histogram):
            buckets = list(zip(LE, accumulate(value.counts), strict=True))
            family.add_metric(labels, buckets, value.sum)  # type: ignore[union-attr]  # all three families have it
        else:
            family.add_metric(labels, value)  # type: ignore[union-attr]
    return list(found.values())
