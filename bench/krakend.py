"""KrakenD's configuration of the page: three backends, merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["krakend_configuration"]

PRODUCT = [
    "id", "name", "description", "brand", "category", "price", "currency", "rating", "reviews_count", "images", "tags",
    "in_stock",
]  # fmt: skip


def krakend_configuration(folder: Path, port: int, upstream: str) -> Path:
    """Write the configuration of its endpoint."""

    def backend(path: str, **rest: Any) -> dict[str, Any]:
        return {"url_pattern": path, "host": [upstream], "encoding": "json", "disable_host_sanitize": True, **rest}

    def listed(name: str) -> dict[str, Any]:
        return backend(f"/products/{{id}}/{name}", is_collection=True, mapping={"collection": name})

    configuration = {
        "version": 3,
        "port": port,
        "listen_ip": "127.0.0.1",
        "timeout": "1s",
        "max_idle_connections_per_host": 250,
        "endpoints": [
            {
                "endpoint": "/products/{id}",
                "method": "GET",
                "backend": [
                    backend("/products/{id}", group="product", allow=PRODUCT),
                    listed("reviews"),
                    listed("related"),
                ],
            }
        ],
    }
    file = folder / "krakend.json"
    file.write_text(json.dumps(configuration, indent=2))
    return file
