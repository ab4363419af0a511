"""The service behind every peer: nginx with three static JSON documents, the same for whatever product is asked for."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["documents", "nginx_configuration", "proxy_configuration"]

LOREM = (
    "A lamp of turned oak and hand-blown glass with a linen cord, made in small numbers in a workshop by the sea; "
    "the light is warm, the switch is brass, and the shade comes off without tools when it wants cleaning. "
)
HEADER = """
worker_processes 1;
daemon off;
pid {folder}/{name}.pid;
error_log {folder}/{name}.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-fastcgi;
    uwsgi_temp_path {folder}/{name}-uwsgi;
    scgi_temp_path {folder}/{name}-scgi;
"""


def documents() -> dict[str, object]:
    """What the service answers: a product of about 1.7 kB with members that no page shows, reviews, cards."""
    product = {
        "id": "p1", "name": "Lamp Kōjō", "description": LOREM * 4, "brand": "Nordlicht", "category": "lamps",
        "price": 12900, "currency": "EUR", "rating": 4.5, "reviews_count": 8,
        "images": [f"https://img.example/p1/{n}.webp" for n in range(4)], "tags": ["oak", "glass", "warm"],
        "in_stock": True,
    }  # fmt: skip
    unseen = {"warehouse": "W3", "supplier": {"id": 77, "name": "Glashütte"}, "cost": 5100, "audit": ["a", "b", "c"]}
    reviews = [
        {
            "id": f"r{n}", "author": f"Käufer {n}", "rating": 1 + n % 5, "title": "As described, only warmer",
            "body": LOREM, "created_at": f"2026-0{n + 1}-11T09:00:00Z",
        }
        for n in range(8)
    ]  # fmt: skip
    related = [
        {"id": f"p{n}", "name": f"Lamp no. {n}", "price": 9900 + n, "currency": "EUR", "image": f"https://img.example/p{n}/s.webp"}
        for n in range(8)
    ]  # fmt: skip
    return {"product": product | unseen, "reviews": reviews, "related": related}


def nginx_configuration(folder: Path, plain: int, cacheable: int, flaky: int, slow: int) -> Path:
    """Write documents and configuration. Three ports: ``plain`` says nothing of caching, ``cacheable`` allows 300 s,
    ``flaky`` sends one request of a hundred to the port ``slow``. ``plain`` also has ``/files/{kilobytes}``."""
    for name, document in documents().items():
        (folder / f"{name}.json").write_text(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    for kilobytes in (1, 100, 10_240):
        (folder / f"{kilobytes}.bin").write_bytes(b"x" * 1024 * kilobytes)
    routes = (
        """
        root %s;
        default_type application/json;
        etag off;
        if_modified_since off;
        add_header Last-Modified "";
        open_file_cache max=100;
        open_file_cache_valid 600s;
        location ~ ^/products/[^/]+$ { rewrite ^ /product.json break; }
        location ~ ^/products/[^/]+/reviews$ { rewrite ^ /reviews.json break; }
        location ~ ^/products/[^/]+/related$ { rewrite ^ /related.json break; }
        location ~ ^/files/(\\d+)$ { default_type application/octet-stream; rewrite ^/files/(.*)$ /$1.bin break; }
"""
        % folder
    )
    text = HEADER.format(folder=folder, name="upstream")
    text += f"    server {{ listen 127.0.0.1:{plain} backlog=8192; {routes} }}\n"
    text += f"    server {{ listen 127.0.0.1:{cacheable}; add_header Cache-Control 'public, max-age=300'; {routes} }}\n"
    text += f"""
    split_clients "$request_id" $origin {{ 1% slow; * quick; }}
    upstream quick {{ server 127.0.0.1:{plain}; keepalive 256; keepalive_requests 1000000000; }}
    upstream slow {{ server 127.0.0.1:{slow}; }}
    server {{
        listen 127.0.0.1:{flaky};
        location / {{ proxy_pass http://$origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
    file = folder / "upstream.conf"
    file.write_text(text)
    return file


def proxy_configuration(folder: Path, port: int, upstream: str, *, cache: bool) -> Path:
    """nginx as the plain proxy of one call: the floor."""
    text = HEADER.format(folder=folder, name="proxy")
    store = f"proxy_cache_path {folder}/cache levels=1:2 keys_zone=pages:64m max_size=1g;" if cache else ""
    text += f"""
    {store}
    upstream service {{ server {upstream.removeprefix("http://")}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        location / {{
            {"proxy_cache pages;" if cache else ""}
            proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection "";
        }}
    }}
}}
"""
    file = folder / "proxy.conf"
    file.write_text(text)
    return file
