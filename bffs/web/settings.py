"""Settings of the web gateway."""

from __future__ import annotations

from typing import ClassVar

from bff_core import OidcSettings, Settings
from shop.clients import service_urls

__all__ = ["WebSettings"]


class WebSettings(Settings):
    """``issuer`` and ``audience`` say which access tokens are trusted; with ``oidc``, browsers sign in."""

    defaults: ClassVar = {
        "services": service_urls(
            "identity", "catalog", "reviews", "recommendations", "users", "orders", "notifications", "inventory"
        ),
        "delivery": {"codings": ("zstd", "br", "gzip")},
        "ops_port": 8102,
    }

    issuer: str = "https://identity.shop.example"
    audience: str = "shop"
    oidc: OidcSettings | None = None
